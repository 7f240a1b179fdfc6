"""Every field that a run reads, once, with its default and what it means. Experiments and run files
change a few of them."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from serac_jax.core.types import Config


def get_config() -> Config:
    """The defaults of Mitchell et al. 2022, question answering."""
    config = ConfigDict()
    config.task = "zsre"
    config.editor = "serac"
    config.seed = 0

    config.base = ConfigDict()  # the frozen model that is edited
    config.base.name = (  # a Hugging Face name, a folder, or a shipped model ("mini/…")
        "google/t5-large-ssm-nq"
    )
    # a file of weights to read instead of those of base.name, such as the original's FC_model.ckpt
    config.base.checkpoint = ""
    config.base.dtype = (  # of the computation; "bfloat16" halves activation memory on accelerators
        "float32"
    )

    # Which kernels of the base model are changed by editors that change weights: patterns of whole
    # paths.
    config.inner = (
        r"encoder/block_2[23]/mlp/(wi|wo)/kernel",
        r"decoder/block_2[23]/mlp/(wi|wo)/kernel",
    )

    config.serac = ConfigDict()
    # the model that reads an edit and a query; its vocabulary is the base model's
    config.serac.counterfactual = "t5-small"
    # retrieve and prompt: the base model reads the edit, only the scope classifier is trained
    config.serac.freeze_counterfactual = False
    config.serac.scope = "distilbert-base-cased"  # the scope classifier
    config.serac.pool = "cls"  # its embedding: "cls", "pooler" or "mean"
    config.serac.cross_attention = (
        False  # classify edit and query together instead of comparing embeddings
    )
    config.serac.cosine = False  # embedding distance: 1 − cosine instead of Euclidean
    config.serac.square = True  # embedding distance: squared
    config.serac.bounded = False  # tanh of the embeddings first
    config.serac.heads = 1  # slices of the embeddings; the least of their distances counts
    config.serac.supervised = (
        True  # train on labelled pairs; else through the mixture of both models' answers
    )
    config.serac.soft_weighting = False  # mix both models' probabilities instead of choosing one
    # scope loss: every edit × every out-of-scope query, not only the pairs drawn together
    config.serac.all_negatives = False
    config.serac.freeze = placeholder(
        int
    )  # train only the last so many blocks of the scope classifier, and its head
    # recompute activations in the backward pass, of both networks (gradient checkpointing)
    config.serac.remat = False

    config.enn = ConfigDict()
    config.enn.steps = 1  # of gradient descent, an edit
    config.enn.edit_lr = (
        1e-2  # the learned rate of every kernel's descent, at the start; learned by train.lr_lr
    )
    config.enn.first_order = False  # take the gradient of an edit as a constant in training
    config.enn.train_base = True  # train a copy of the base model too, not only the rates of edits
    config.enn.cbase = 1.0  # weight of what training changes in the copy's own answers out of scope
    config.enn.remat = (
        True  # recompute an edit's steps in the backward pass instead of storing their activations
    )

    config.mend = (
        ConfigDict()
    )  # networks that turn inputs x and output gradients δ of the changed kernels into an update
    config.mend.combine = True  # one network reads x and δ together; else one each
    config.mend.one_sided = False  # without combine: a network for the narrower of x and δ only
    config.mend.x_only = False  # without combine: a network for x only
    config.mend.delta_only = False  # without combine: a network for δ only
    config.mend.shared = (
        True  # kernels of one shape share networks, each with its own scales and shifts
    )
    config.mend.norm = True  # normalise x and δ by their running moments
    config.mend.init = "id"  # layers start as the identity; "xavier": at random
    config.mend.n_hidden = 1  # hidden layers
    config.mend.rank = 1920  # of every layer's matrix
    config.mend.act = "relu"  # activation; there is no other
    config.mend.mlp_class = "IDMLP"  # kind of network; the original's others cannot be built
    config.mend.descent = (
        True  # the update is subtracted; False: added, and the networks have to learn the sign
    )
    config.mend.edit_lr = (
        1e-4  # the learned rate of every kernel's update, at the start; learned by train.lr_lr
    )

    config.lookup = ConfigDict()
    config.lookup.threshold = (
        1.0  # Euclidean distance of mean encoder states within which a query gets the stored answer
    )
    config.lookup.onehot_logit = 1.0  # the logit of a stored answer's tokens, all others being 0
    config.lookup.mask_keys = True  # average real tokens only; the original averages padding too

    config.finetune = ConfigDict()  # clipped at train.clip
    config.finetune.optimizer = "rmsprop"  # or "adam", "sgd"
    config.finetune.lr = 5e-6  # of the optimizer
    # evaluations of the loss at most, an edit; fewer where every edit of the batch is right sooner
    config.finetune.steps = 100
    config.finetune.rank = placeholder(int)  # of the change of each kernel; by default full
    config.finetune.init_std = (
        0.01  # of the factor of a change of low rank that does not start at 0
    )
    # batches of out-of-scope training queries whose KL is added, one a step in turn; 0: none; 1:
    # always the same
    config.finetune.locality_batches = 0
    config.finetune.locality_rows = 1  # queries in each
    config.finetune.cedit = 1e-2  # weight of the edit loss beside that KL

    config.data = ConfigDict()
    # a folder with zsre/ (and nq/); "mini": the shipped data; empty: the original's archive,
    # downloaded once
    config.data.dir = ""
    # where downloads and prepared data go; empty: $XDG_CACHE_HOME/serac_jax or ~/.cache/serac_jax
    config.data.cache = ""
    config.data.train_split = "train"  # of the files in zsre/ or sentiment/
    config.data.val_split = "dev"  # decides which checkpoint is the best
    config.data.implications = False  # also ask what follows from the new answer
    config.data.yes_no = False  # also ask "True or False: …"
    config.data.opinions = (
        20  # sentiment editing: in-scope queries an edit; a part of longer lists is drawn
    )
    # sentiment editing: different questions before them in training, each read once; a divisor of
    # data.opinions
    config.data.questions = 2
    config.data.natural_questions = False  # draw out-of-scope queries from Natural Questions
    # a sentence embedding model, under which they are found; empty: the rows' own, where they have
    # some
    config.data.hard_negatives = ""
    config.data.hard_negative_neighbors = 100  # how many of the nearest questions are looked at
    config.data.hard_negative_exclude = (
        25  # how many of these, the nearest, are too near to be negatives
    )
    config.data.hard_negative_temperature = (
        0.1  # a neighbour is drawn with probability ∝ exp(cosine / temperature)
    )
    config.data.hard_negative_rate = (
        0.0  # in training, how often a batch's out-of-scope queries are drawn near its edits
    )
    # Sizes of batches: the i-th of each list make one, the last of a list stands for those that it
    # lacks, a batch is padded to the first size that holds it,
    # and each size is compiled once.
    config.data.text_widths = (
        16,
        24,
        24,
        28,
        32,
        32,
    )  # tokens of an edit's question; longer ones are cut at the last
    config.data.label_widths = (
        4,
        8,
        12,
        16,
        16,
        64,
    )  # of an answer; a longer one is an error, or in sentiment editing cut
    # of a query; longer ones are cut at the last; empty: as text_widths
    config.data.query_widths = ()
    config.data.edit_label_widths = ()  # of an edit's answer; empty: as label_widths
    config.data.context_widths = (
        24,
        40,
        44,
        48,
        64,
        96,
    )  # of an edit and a query read together; where not enough, or empty: as wide as both
    # The share of positions of a size that may be tokens and not padding: training computes only so
    # many. Empty: all are computed.
    config.data.text_fill = (0.75, 0.62, 0.62, 0.55, 0.5, 0.5)  # of texts
    config.data.context_fill = (
        0.95,
        0.76,
        0.72,
        0.67,
        0.54,
        0.5,
    )  # of an edit and a query read together
    config.data.label_fill = (0.8, 0.6, 0.45, 0.35, 0.37, 0.3)  # of answers in scope
    config.data.workers = 0  # processes that prepare batches; 0: threads

    config.train = ConfigDict()
    config.train.steps = 1_000_000  # batches at most
    config.train.edits = 10  # edits in a batch (K), applied at once
    config.train.accumulate = 10  # batches an optimizer step
    config.train.lr = 1e-5  # Adam
    config.train.lr_lr = 0.0  # Adam, for learned rates of edits (MEND, ENN)
    config.train.clip = 100.0  # of the gradient's global norm
    config.train.cedit = 0.1  # weight of the edit loss
    config.train.cloc = 1.0  # weight of the locality or scope loss
    config.train.unlikelihood = True  # also make unwanted answers less likely (sentiment editing)
    config.train.dropout = 0.0  # rate of every dropout layer of what is trained
    config.train.log_every = 100  # steps
    config.train.val_every = (
        5000  # steps between validations; each writes a checkpoint, and so does the last step
    )
    config.train.save_every = (
        1000  # steps between further checkpoints; a killed run repeats at most so many
    )
    config.train.val_batches = (
        50  # batches of `train.edits` rows a validation reads; 0: the whole split
    )
    config.train.patience = (
        40_000  # stop when the validation loss has not improved for so many steps
    )
    config.train.profile = 0  # write a profile of so many steps to the workdir, once compiled
    config.train.init_from = ""  # another run's workdir whose best parameters training starts from

    config.eval = ConfigDict()
    config.eval.split = "dev"  # of the files in zsre/
    config.eval.edits = 10  # edits applied at once
    config.eval.batches = 0  # at most so many batches; 0: the whole split
    config.eval.resamples = 1000  # of the bootstrap behind every 95% interval
    config.eval.examples = 6  # before/after examples to print

    config.mesh = ConfigDict()
    config.mesh.data = -1  # devices over which a batch is split; −1: all that are left
    # devices over which a batch is split too, and each of which holds only a part of every weight
    # and of its moments
    config.mesh.fsdp = 1
    config.mesh.model = 1  # devices over which every model is split, and its computation

    config.log = ConfigDict()
    config.log.tensorboard = True  # event files in the workdir
    config.log.wandb = ""  # a Weights & Biases project (needs `pip install wandb`); empty: off
    return config
