"""The map of equations: where each one stands, which function computes it, which test holds it.

An equation is written once, on its page, and labeled there (``$$ … $$ (eq-blend)``). Its entry here
names the function, a test that compares the function with the formula or with the released code,
and for each symbol the name that the function's source has for it. ``tests/test_equations.py``
checks all of it against the pages, the package and the tests.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from sadm_utils.runs import project_root

MARK = "<!-- map of equations -->"
LABELED = re.compile(r"\$\$(?P<latex>.+?)\$\$[ \t]*(?:\((?P<label>eq-[\w-]+)\))?", re.DOTALL)
DATA, DRAEM, SPARK = "01_data_preparation", "02_draem_anomalies", "03_spark_pretraining"
CDDPM, SADM, EVALUATION = "04_cddpm_training", "05_sadm_training", "06_evaluation"
BASELINES, PROTOCOLS = "08_baselines", "book/protocols"


@dataclass(frozen=True)
class Equation:
    """One displayed equation.

    Attributes
    ----------
    label, page
        Its label, and the page on which it stands, without suffix.
    title
        What it is, in a few words.
    function
        What computes it, below ``sadm_utils``.
    test
        File below ``tests`` and function that hold it to a known case.
    symbols
        Pairs of LaTeX and name: the symbol in the equation is the name in the function's source.
    """

    label: str
    page: str
    title: str
    function: str
    test: str
    symbols: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The page as jupyter-book names it."""
        return self.page if "/" in self.page else f"notebooks/{self.page}"

    @property
    def place(self) -> tuple[str, str]:
        """File of the package, and the name in it, that compute the equation."""
        room, module, name = self.function.split(".", 2)
        return f"sadm_utils/{room}/{module}.py", name

    @property
    def held_by(self) -> tuple[str, str]:
        """File of the tests, and what the test says, in words."""
        file, name = self.test.split("::")
        return f"tests/{file}", name.removeprefix("test_").replace("_", " ")


EQUATIONS = (
    Equation(
        "eq-affine", DATA, "from voxel to millimeters", "data.preprocess.in_mni_space",
        "test_equations.py::test_a_voxel_lies_where_the_affine_says",
        ((r"\mathbf{A}", "affine"),),
    ),
    Equation(
        "eq-overlap", DATA, "overlap of two masks", "data.register.dice",
        "test_equations.py::test_overlap_by_hand",
        (("P", "one"), ("G", "two"), (r"P \cap G", "both")),
    ),
    Equation(
        "eq-scale", DATA, "scaling to [0, 1]", "data.preprocess.rescale",
        "data/test_preprocess.py::test_rescale_equals_reference",
        (("v", "array"), ("p_1", "low"), ("p_{99}", "high"), (r"\min(\max(v, p_1), p_{99})",
         "clipped")),
    ),
    Equation(
        "eq-blend", DRAEM, "a synthetic anomaly", "draem.synthesis.blend",
        "draem/test_synthesis.py::test_blend_equals_reference",
        (("x", "image"), ("M", "mask"), ("A", "texture"), (r"\beta", "opacity")),
    ),
    Equation(
        "eq-perlin", DRAEM, "Perlin noise", "draem.perlin.axis_factors",
        "draem/test_perlin.py::test_given_draws_equal_reference",
        (("w", "weight"), ("d", "distance"), ("f", "fade"), ("y", "position"), ("i", "line")),
    ),
    Equation(
        "eq-sparse", SPARK, "a sparse layer", "spark.sparse.SparseConv2d.forward",
        "spark/test_sparse.py::test_layer_is_the_dense_one_times_the_pattern",
        (("x", "x"), ("m", "visible"), ("f(x)", "y")),
    ),
    Equation(
        "eq-hidden", SPARK, "the loss of SparK", "spark.model.SparK.forward",
        "spark/test_model.py::test_loss_ignores_visible_pixels_and_averages_hidden_ones",
        ((r"\mathcal{H}", "hidden"), (r"\hat{x}", "reconstruction"), ("x_p", "image")),
    ),
    Equation(
        "eq-noised", CDDPM, "the noised image", "cddpm.diffusion.GaussianDiffusion.q_sample",
        "cddpm/test_diffusion.py::test_losses_and_reconstructions_match",
        (("x_0", "x0"), (r"\sqrt{\bar\alpha_t}", "signal_rate"),
         (r"\sqrt{1 - \bar\alpha_t}", "noise_rate"), (r"\varepsilon", "noise")),
    ),
    Equation(
        "eq-schedule", CDDPM, "the cosine schedule", "cddpm.schedule.cosine_betas",
        "cddpm/test_schedule.py::test_schedule_matches",
        ((r"\bar\alpha_t", "alpha_bar"), ("t/T", "u"), ("T", "timesteps"), ("s", "offset")),
    ),
    Equation(
        "eq-denoise", CDDPM, "one step back, and its loss",
        "cddpm.diffusion.GaussianDiffusion.loss",
        "cddpm/test_model.py::test_loss_is_the_mean_absolute_error_at_drawn_steps",
        (("f", "net"), ("t", "t"), ("c", "cond"), ("x_0", "x0"), (r"\hat x_0", "predict")),
    ),
    Equation(
        "eq-siamese", SADM, "the supervised map", "sadm.network.SegmentationUNet.forward",
        "sadm/test_network.py::test_logits_loss_and_gradients_match",
        (("x", "image"), (r"\hat x", "reconstruction"), (r"\mathrm{encode}", "encode")),
    ),
    Equation(
        "eq-standardize", SADM, "weight standardization", "sadm.network.StandardizedConv2d.forward",
        "sadm/test_network.py::test_standardized_convolution_ignores_scale_and_offset_of_its_weights",
        (("w", "weight"), (r"\operatorname{mean}", "mean"), (r"\operatorname{std}", "std")),
    ),
    Equation(
        "eq-ssim", EVALUATION, "structural similarity", "evaluation.anomaly_map.ssim_map",
        "evaluation/test_anomaly_map.py::test_ssim_equals_reference",
        ((r"\mu_x", "mean_x"), (r"\mu_{\hat x}", "mean_y"), (r"2\sigma_{x\hat x}", "covariance"),
         (r"\sigma_x^2 + \sigma_{\hat x}^2", "variances"), ("c_1", "c1"), ("c_2", "c2")),
    ),
    Equation(
        "eq-residual-map", EVALUATION, "the reconstruction map",
        "evaluation.anomaly_map.reconstruction_map",
        "evaluation/test_anomaly_map.py::test_maps_equal_reference_test_step",
        (("x", "image"), (r"\hat x", "reconstruction"), (r"\text{mask}", "mask"),
         (r"\mathrm{median}", "median_filter"), (r"1 - \mathrm{SSIM}(x, \hat x)", "residual")),
    ),
    Equation(
        "eq-score", EVALUATION, "the anomaly score", "sadm.fusion.fuse",
        "sadm/test_fusion.py::test_sum_and_weighted_sum",
        ((r"\tilde x", "reconstruction_map"), (r"\hat y", "supervised_map")),
    ),
    Equation(
        "eq-rates", EVALUATION, "precision, recall, Dice", "evaluation.metrics.Confusion",
        "evaluation/test_metrics.py::test_rates_by_hand",
        (("TP", "tp"), ("FP", "fp"), ("FN", "fn"), (r"\text{precision}", "precision"),
         (r"\text{recall}", "recall"), (r"\text{Dice}", "dice")),
    ),
    Equation(
        "eq-ae", BASELINES, "the autoencoder", "baselines.ae.Autoencoder",
        "test_equations.py::test_loss_of_the_autoencoder_by_hand",
        (("x", "image"), (r"\mathrm{encode}", "encode"), (r"\mathrm{decode}", "decode"),
         (r"\mathcal{L}", "loss")),
    ),
    Equation(
        "eq-vae", BASELINES, "the variational autoencoder",
        "baselines.vae.VariationalAutoencoder.loss",
        "baselines/test_rebuilding.py::test_kl_enters_the_loss_per_pixel",
        (("x", "image"), (r"\hat x", "rebuilt"), (r"\lambda", "kl_weight"),
         (r"\text{pixels}", "pixels"), (r"\mathrm{KL}", "kl_divergence"), (r"\mu_k", "mean"),
         (r"\ln \sigma_k^2", "log_variance")),
    ),
    Equation(
        "eq-dae", BASELINES, "the denoising autoencoder",
        "baselines.dae.DenoisingAutoencoder.loss",
        "test_equations.py::test_loss_of_the_denoising_autoencoder_by_hand",
        (("x", "image"), (r"\mathrm{unet}", "unet"), (r"x + \varepsilon", "noised")),
    ),
    Equation(
        "eq-fae", BASELINES, "the feature autoencoder",
        "baselines.fae.FeatureAutoencoder.dissimilarity",
        "baselines/test_fae.py::test_perfect_reconstruction_has_no_dissimilarity",
        (("f", "features"), ("g", "autoencoder"), (r"\mathrm{SSIM}", "ssim")),
    ),
    Equation(
        "eq-rd", BASELINES, "reverse distillation", "baselines.rd.cosine_distance",
        "baselines/test_rd.py::test_distance_by_hand",
        (("f_k(p)", "teacher"), (r"\hat f_k(p)", "student"), ("d_k(p)", "distance")),
    ),
    Equation(
        "eq-pii", BASELINES, "Poisson image interpolation", "baselines.pii.blend_patch",
        "baselines/test_pii.py::test_blend_has_the_interpolated_gradients_inside",
        ((r"\alpha", "alpha"), (r"\nabla x", "own"), (r"\nabla s", "other"), ("a", "kept"),
         ("b", "taken"), ("v", "wanted"), ("s", "source"), ("x'", "blended")),
    ),
    Equation(
        "eq-draem-net", BASELINES, "the two losses of DRAEM-Net",
        "baselines.draem_net.DraemNet.loss", "baselines/test_draem_net.py::test_focal_loss_by_hand",
        ((r"\hat x", "rebuilt"), ("x", "image"), ("M", "anomaly"),
         (r"\text{paint}", "reconstruction_loss"), (r"\text{find}", "focal_loss")),
    ),
    Equation(
        "eq-counts", PROTOCOLS, "the four counts", "evaluation.metrics.confusion_at",
        "evaluation/test_metrics.py::test_by_hand",
        (("TP", "tp"), ("FP", "fp"), ("FN", "fn"), (r"P_\tau", "predicted"), ("T", "truth"),
         (r"\tau", "threshold")),
    ),
    Equation(
        "eq-dice", PROTOCOLS, "Dice and ⌈Dice⌉", "evaluation.metrics.Ranking",
        "evaluation/test_metrics.py::test_equal_to_scikit_learn_and_brute_force",
        (("TP", "tp"), (r"\tau", "thresholds"), (r"\lceil\text{Dice}\rceil", "best_dice")),
    ),
    Equation(
        "eq-lesions", PROTOCOLS, "lesions instead of voxels", "evaluation.lesions.LesionCounts",
        "evaluation/test_lesions.py::test_counts_by_hand",
        ((r"\text{hit}", "hit"), (r"\text{lesions}", "lesions"), (r"\text{right}", "right"),
         (r"\text{findings}", "findings"), (r"\text{missed} + \text{wrong}", "errors")),
    ),
    Equation(
        "eq-surfaces", PROTOCOLS, "distances of surfaces", "evaluation.surfaces.surface_metrics",
        "evaluation/test_surfaces.py::test_average_distance_by_hand",
        ((r"\text{HD95}", "hd95"), (r"\text{ASSD}", "assd"), ("d(a, B)", "one"),
         ("d(b, A)", "other")),
    ),
)  # fmt: skip


def displayed(path: str, root: Path | None = None) -> list[tuple[str, str]]:
    """Label (empty without one) and LaTeX of each displayed equation of a page, in order."""
    found = LABELED.finditer(_text(path, root or project_root()))
    return [(m["label"] or "", " ".join(m["latex"].split())) for m in found]


def page_title(path: str) -> str:
    """Title of a page, for a chapter with its number: the site adds it to the first six."""
    title = re.search(r"^# (.+)$", _text(path, project_root()), re.MULTILINE)[1]
    number = re.match(r"notebooks/0(\d)_", path)
    return f"{number[1]}. {title}" if number and not title[0].isdigit() else title


def _text(path: str, root: Path) -> str:
    """The Markdown of a page; of a notebook without its code."""
    notebook = root / f"{path}.ipynb"
    if not notebook.exists():
        return (root / f"{path}.md").read_text(encoding="utf-8")
    cells = nbformat.read(notebook, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def resolve(function: str) -> Any:
    """The class or function that a dotted name below ``sadm_utils`` means."""
    parts = function.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["sadm_utils", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            found = getattr(found, name)
        return found
    raise AttributeError(f"sadm_utils has no {function}")


def names_in(function: str) -> set[str]:
    """Every name that the source of a function or class uses."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(resolve(function))))
    names: set[str] = set()
    for node in ast.walk(tree):
        for attribute in ("id", "arg", "attr", "name"):
            names |= {value for value in [getattr(node, attribute, None)] if isinstance(value, str)}
        if isinstance(node, ast.Constant) and str(node.value).isidentifier():
            names.add(str(node.value))  # the key of a result
    return names


def fill_equations(text: str) -> str:
    """Put the map into the place of its mark."""
    return text.replace(MARK, map_of_equations()) if MARK in text else text


def map_of_equations() -> str:
    """Markdown of all equations, page by page: formula, function, symbols and test."""
    parts = [
        f"{len(EQUATIONS)} equations, {len({e.function for e in EQUATIONS})} functions, "
        f"{len({e.test for e in EQUATIONS})} tests."
    ]
    for path in dict.fromkeys(e.path for e in EQUATIONS):
        latex = dict(displayed(path))
        parts += [f"## {page_title(path)}", f"To be found in {{doc}}`../{path}`."]
        parts += [_entry(e, latex[e.label]) for e in EQUATIONS if e.path == path]
    return "\n\n".join(parts)


def _entry(equation: Equation, latex: str) -> str:
    symbols = ", ".join(f"${symbol}$ is `{name}`" for symbol, name in equation.symbols)
    (file, name), (test_file, claim) = equation.place, equation.held_by
    return (
        f"**{equation.title[0].upper()}{equation.title[1:]}** {{eq}}`{equation.label}`\n\n"
        f"$$\n{latex}\n$$\n\n"
        f"- computed by `{name}` in `{file}`, where {symbols}\n"
        f"- tested in `{test_file}`: *{claim}*"
    )
