"""The errors that a user can mend. Programs print them as one line and end with status 1; libraries
may catch them."""


class UserError(Exception):
    """Something that was given to the program is not what it should be; the message says what,
    where, and what to do."""
