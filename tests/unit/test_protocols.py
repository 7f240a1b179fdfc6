"""Published scores, against small cases worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.evaluation import protocols

# Two answers of three tokens, the second of which has only two; a vocabulary of two.
LOGITS = jnp.log(
    jnp.array([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]])
)
LABELS = jnp.array([[0, 0, 0], [1, 1, 1]])
WEIGHT = jnp.array([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])


def test_easyedit_counts_tokens():
    found = protocols.easyedit_accuracy(LOGITS, LABELS, WEIGHT)
    assert np.allclose(found, [2 / 3, 1.0])
    after = LOGITS.at[0, 0].set(LOGITS[0, 0, ::-1])
    assert np.allclose(protocols.easyedit_locality(LOGITS, after, WEIGHT), [2 / 3, 1.0])
    assert protocols.easyedit_accuracy(LOGITS, LABELS, 0 * WEIGHT).tolist() == [0, 0]


def test_rome_compares_geometric_means_of_token_probabilities():
    new = protocols.rome_probability(LOGITS, LABELS, WEIGHT)
    assert np.allclose(new, [(0.9 * 0.2 * 0.6) ** (1 / 3), 0.75])
    true = protocols.rome_probability(LOGITS, 1 - LABELS, WEIGHT)
    found = protocols.rome_efficacy(new, true)
    assert found.success.tolist() == [1.0, 1.0]
    assert np.allclose(found.magnitude, new - true)
    assert protocols.rome_efficacy(new, new).success.tolist() == [0.0, 0.0]


def test_romes_score_is_a_harmonic_mean():
    assert protocols.rome_score(1.0, 0.5, 0.25) == pytest.approx(3 / 7)
    assert protocols.rome_score(1.0, 0.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Paris. It is", "Paris"),
        ("  Paris\nQuestion:", "Paris"),
        ("Paris</s>x", "Paris"),
        ("Paris", "Paris"),
        ("", ""),
        (".x", ""),
    ],
)
def test_wild_cuts_answers_by_stop_rules(answer, text):
    assert protocols.wild_text(answer) == text


def test_wild_compares_as_squad_does():
    assert protocols.wild_right("The Paris. In France", ["paris"])
    assert not protocols.wild_right("Paris in France", ["paris"])
