"""The errors that a user can mend. Programs print them as one line and end with status 1; libraries
may catch them."""

LONGEST = 1500  # letters of a line, of which a damaged file may bring any number


class UserError(Exception):
    """Something that was given to the program is not what it should be; the message says what,
    where, and what to do."""

    def __str__(self) -> str:
        return "\n".join(map(shortened, super().__str__().split("\n")))


def shortened(line: str) -> str:
    """A line without the middle, if it is too long."""
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"
