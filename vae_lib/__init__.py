"""Variational autoencoders, explained live. The public names, flat; each is loaded when it is first used.

Data, widgets and plots do not need TensorFlow, so importing this package does not import it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_lib.checks import DataError as DataError
    from vae_lib.config import TrainConfig as TrainConfig
    from vae_lib.data import Dataset as Dataset
    from vae_lib.data import binarize as binarize
    from vae_lib.data import load_digits as load_digits
    from vae_lib.data import load_mnist as load_mnist
    from vae_lib.evaluation import ActiveUnits as ActiveUnits
    from vae_lib.evaluation import BestGaussian as BestGaussian
    from vae_lib.evaluation import ExactLogPx as ExactLogPx
    from vae_lib.evaluation import PosteriorGrid as PosteriorGrid
    from vae_lib.evaluation import active_units as active_units
    from vae_lib.evaluation import aggregate_log_prob as aggregate_log_prob
    from vae_lib.evaluation import best_gaussian as best_gaussian
    from vae_lib.evaluation import elbo as elbo
    from vae_lib.evaluation import exact_log_px as exact_log_px
    from vae_lib.evaluation import iwae_bound as iwae_bound
    from vae_lib.evaluation import kl_to_posterior as kl_to_posterior
    from vae_lib.evaluation import posterior_on_grid as posterior_on_grid
    from vae_lib.exercises import check_answer as check_answer
    from vae_lib.gaussian import gaussian_kl as gaussian_kl
    from vae_lib.gaussian import gaussian_log_prob as gaussian_log_prob
    from vae_lib.gaussian import sample_gaussian as sample_gaussian
    from vae_lib.model import VAE as VAE
    from vae_lib.model import Sampling as Sampling
    from vae_lib.model import build_vae as build_vae
    from vae_lib.model import with_label as with_label
    from vae_lib.objective import ElboTerms as ElboTerms
    from vae_lib.objective import batch_loss as batch_loss
    from vae_lib.objective import bernoulli_log_prob as bernoulli_log_prob
    from vae_lib.objective import elbo_terms as elbo_terms
    from vae_lib.objective import free_bits_kl as free_bits_kl
    from vae_lib.objective import kl_weight as kl_weight
    from vae_lib.quality import SampleQuality as SampleQuality
    from vae_lib.quality import frechet_distance as frechet_distance
    from vae_lib.quality import sample_quality as sample_quality
    from vae_lib.quality import train_classifier as train_classifier
    from vae_lib.recording import Snapshot as Snapshot
    from vae_lib.recording import TrainingRecorder as TrainingRecorder
    from vae_lib.tiny import DiscreteWorld as DiscreteWorld
    from vae_lib.tiny import LinearGaussian as LinearGaussian
    from vae_lib.training import History as History
    from vae_lib.training import TrainingError as TrainingError
    from vae_lib.training import train as train
    from vae_lib.weights import WeightsError as WeightsError
    from vae_lib.weights import load_weights as load_weights
    from vae_lib.weights import pretrained as pretrained
    from vae_lib.weights import pretrained_registry as pretrained_registry
    from vae_lib.weights import save_weights as save_weights
    from vae_lib.widgets.beta_scrubber import BetaScrubber as BetaScrubber
    from vae_lib.widgets.browser_training import BrowserTraining as BrowserTraining
    from vae_lib.widgets.conditional_explorer import ConditionalExplorer as ConditionalExplorer
    from vae_lib.widgets.elbo_balance import ElboBalance as ElboBalance
    from vae_lib.widgets.held_noise import HeldNoise as HeldNoise
    from vae_lib.widgets.hole_walk import HoleWalk as HoleWalk
    from vae_lib.widgets.kl_gaussians import KLGaussians as KLGaussians
    from vae_lib.widgets.latent_explorer import LatentExplorer as LatentExplorer
    from vae_lib.widgets.posterior_gap import PosteriorGap as PosteriorGap
    from vae_lib.widgets.training_scrubber import TrainingScrubber as TrainingScrubber

_MODULE_OF = {
    "TrainConfig": "config",
    "DataError": "checks",
    "Dataset": "data",
    "binarize": "data",
    "load_digits": "data",
    "load_mnist": "data",
    "ActiveUnits": "evaluation",
    "BestGaussian": "evaluation",
    "ExactLogPx": "evaluation",
    "PosteriorGrid": "evaluation",
    "active_units": "evaluation",
    "aggregate_log_prob": "evaluation",
    "best_gaussian": "evaluation",
    "elbo": "evaluation",
    "exact_log_px": "evaluation",
    "iwae_bound": "evaluation",
    "kl_to_posterior": "evaluation",
    "posterior_on_grid": "evaluation",
    "check_answer": "exercises",
    "gaussian_kl": "gaussian",
    "gaussian_log_prob": "gaussian",
    "sample_gaussian": "gaussian",
    "VAE": "model",
    "Sampling": "model",
    "build_vae": "model",
    "with_label": "model",
    "ElboTerms": "objective",
    "batch_loss": "objective",
    "bernoulli_log_prob": "objective",
    "elbo_terms": "objective",
    "free_bits_kl": "objective",
    "kl_weight": "objective",
    "plots": "plots",
    "SampleQuality": "quality",
    "frechet_distance": "quality",
    "sample_quality": "quality",
    "train_classifier": "quality",
    "Snapshot": "recording",
    "TrainingRecorder": "recording",
    "DiscreteWorld": "tiny",
    "LinearGaussian": "tiny",
    "History": "training",
    "TrainingError": "training",
    "train": "training",
    "WeightsError": "weights",
    "load_weights": "weights",
    "pretrained": "weights",
    "pretrained_registry": "weights",
    "save_weights": "weights",
    "BrowserTraining": "widgets.browser_training",
    "ConditionalExplorer": "widgets.conditional_explorer",
    "BetaScrubber": "widgets.beta_scrubber",
    "ElboBalance": "widgets.elbo_balance",
    "HeldNoise": "widgets.held_noise",
    "HoleWalk": "widgets.hole_walk",
    "KLGaussians": "widgets.kl_gaussians",
    "LatentExplorer": "widgets.latent_explorer",
    "PosteriorGap": "widgets.posterior_gap",
    "TrainingScrubber": "widgets.training_scrubber",
}

__all__ = sorted(_MODULE_OF)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'vae_lib' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = importlib.import_module(f"vae_lib.{_MODULE_OF[name]}")
    return module if name == _MODULE_OF[name] else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
