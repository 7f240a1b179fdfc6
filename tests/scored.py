"""What evaluation scores beside what the service answers."""

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.edits.store import Store

# The shipped editors, each with the preset whose rows it is scored on.
SHIPPED = {"mini": "zsre_rep:mini", "mini/fnli": "fnli_rep:mini", "mini/sent": "sent_rep:mini"}


def differences(editor, run, params, config, edits, count):
    """How many questions were asked, and those that the evaluated editor answers otherwise than the
    service: at least `count`, of batches of so many edits, where the split has as many."""
    split = config.eval.split

    def answers(params, base, edits, queries):
        edited = run.editor.edit(params, run.editor.start(params, base, edits), edits)
        found = run.editor.route(params, edited, queries)
        if run.base.decodes:
            steps = editor.encoder.answer_widths[-1]
            return found, run.editor.generate(params, edited, queries, steps)
        return found, run.editor.apply(params, edited, queries).argmax(-1)

    answers = jax.jit(answers)
    total, found = 0, []
    for texts in run.task.batches(split, edits, False, lambda batch: batch):
        batch = jax.tree.map(jnp.asarray, run.task.encode(texts))
        alone = editor.with_memory(Store.open(None))
        pairs = [(query.question, query.answer) for query in texts.edits if query]
        stored = alone.edit_many(pairs, policy="keep").edits
        for asked, queries in ((texts.inside, batch.inside), (texts.outside, batch.outside)):
            route, ids = answers(params, run.base_params, batch.edits, queries)
            rows = [row for row, query in enumerate(asked) if query]
            total += len(rows)
            said = alone.ask([asked[row].question for row in rows])
            for row, answer in zip(rows, said, strict=True):
                expected = (
                    stored[int(route.index[row])].id if route.hit[row] else None,
                    run.task.words(np.asarray(ids[row])),
                )
                if expected != (answer.edit_id, answer.text):
                    found.append((answer.question, expected, (answer.edit_id, answer.text)))
        if total >= count:
            break
    return total, found
