"""Networks, and loading them from and saving them as Hugging Face folders.

model, params = load("google/t5-small-ssm-nq")
logits = model.logits(params, examples)
"""

from serac_jax.core.model_files import DamagedFile as DamagedFile
from serac_jax.models.hf_config import model_type as model_type
from serac_jax.models.hub import ModelNotFound as ModelNotFound
from serac_jax.models.model import Model as Model
from serac_jax.models.network import WeightError as WeightError
from serac_jax.models.networks import NETWORKS as NETWORKS
from serac_jax.models.pretrained import Load as Load
from serac_jax.models.pretrained import abstract as abstract
from serac_jax.models.pretrained import digest as digest
from serac_jax.models.pretrained import digest_of as digest_of
from serac_jax.models.pretrained import load as load
from serac_jax.models.pretrained import load_tokenizer as load_tokenizer
from serac_jax.models.pretrained import outline as outline
from serac_jax.models.pretrained import save as save
from serac_jax.text.tokenizer import Tokenizer as Tokenizer
