"""Every choice in which paper, released code and this book are compared: the page's first table.

What the book does is written with the settings of the profile ``paper``, e.g. ``{cddpm.width}``, so
that the table cannot fall behind the code. Each choice names the test that checks it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sadm_utils.config import Config, flatten, to_dict


@dataclass(frozen=True)
class Choice:
    """One row; ``test`` is a pytest node.

    ``book`` may hold settings in braces, those that are on or off with a text for both:
    ``{draem.brain_only?inside the brain only:anywhere}``.
    """

    topic: str
    paper: str
    released: str
    book: str
    why: str
    test: str

    def row(self, config: Config) -> list[str]:
        """The five cells, with the settings of ``config`` filled in."""
        flat = flatten(to_dict(config))

        def fill(match: re.Match[str]) -> str:
            key, on, off = match.groups()
            between = " × " if key.endswith("_mm") else ", "  # a size, or a list
            return _show(flat[key], between) if on is None else on if flat[key] else off

        book = re.sub(r"\{([\w.]+)(?:\?([^:}]*):([^}]*))?\}", fill, self.book)
        # A browser breaks the long name behind these. The break before the dot keeps "linkify"
        # from taking "name.py" for an address.
        test = re.sub(r"(/|::|_|(?=\.py))", r"\1<wbr>", self.test)
        why = f"{self.why}<br><small><code>{test}</code></small>"
        return [self.topic, self.paper, self.released, book, why]


def _show(value: object, between: str) -> str:
    if isinstance(value, list):
        return between.join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


NOT_SAID, SAME = "not said", "the same"
CHOICES = (
    Choice(
        "Slices", "2 mm, axial", "96 × 96 × 50 after a crop of 192 × 192 × 100 mm",
        "{data.voxel_mm} mm after a crop of {data.crop_mm} mm; its center is fixed in MNI space",
        "other scanners' fields of view do not shift the brain",
        "tests/data/test_preprocess.py::test_geometry_for_any_input_voxel",
    ),
    Choice(
        "Curvature flow", NOT_SAID, "3 iterations on images", "{data.curvature_steps} iterations",
        SAME, "tests/data/test_preprocess.py::test_curvature_flow_equals_reference",
    ),
    Choice(
        "Overshoot of the B-spline", NOT_SAID, "left: −0.13 … 1.15 seen",
        "clipped to [0, 1], 0 outside the brain", "every image keeps its promised range",
        "tests/data/test_preprocess.py::test_whole_chain_equals_reference_where_it_is_in_range",
    ),
    Choice(
        "Augmentation", "not said in full", "of a whole volume, of which one slice is used",
        "of the slice, gamma {data.augment.gamma}, bias field {data.augment.bias_field}, blur "
        "{data.augment.blur}, ghosting {data.augment.ghosting}",
        "the same distributions; [](speed.md) has the gain",
        "tests/data/test_augment.py::test_slice_bias_is_a_plane_of_a_volume_bias",
    ),
    Choice(
        "Area of an anomaly", "in the image", "anywhere, mostly in the background",
        "{draem.brain_only?inside the brain only:anywhere}",
        "an anomaly outside the brain teaches nothing",
        "tests/draem/test_synthesis.py"
        "::test_anomalies_stay_in_the_brain_and_the_mask_tells_what_changed",
    ),
    Choice(
        "Threshold of the Perlin noise", "drawn uniformly", "0.5", "{draem.threshold}",
        "the released code; a range is possible",
        "tests/draem/test_synthesis.py::test_sampled_threshold_changes_the_area",
    ),
    Choice(
        "Texture operations", "seven", "ten, three of them at a time",
        "ten, three of them at a time", "the released code",
        "tests/draem/test_textures.py::test_operations_are_drawn_without_replacement_and_evenly",
    ),
    Choice(
        "Stochastic depth", "none", "0 to 0.05, although its settings say 0",
        "{encoder.drop_path}", "what the settings say",
        "tests/spark/test_resnet.py::test_drop_path_grows_linearly",
    ),
    Choice(
        "Length of the condition", "not said", "512; the setting 128 is overwritten",
        "4 × {cddpm.width}", "the released code",
        "tests/reference/test_load.py::test_names_shapes_and_parameter_counts_are_the_inventory",
    ),
    Choice(
        "Mask of SparK", "0.65", "3 of 9 patches visible", "{spark.mask_ratio} of the patches",
        SAME,
        "tests/spark/test_model.py"
        "::test_mask_shows_the_same_number_everywhere_and_is_reproducible",
    ),
    Choice(
        "U-Net channels", "128, 128, 256", "128, 256, 256", "{cddpm.width} × (1, 2, 2)",
        "the released code", "tests/cddpm/test_unet.py::test_paper_size",
    ),
    Choice(
        "Attention", "at several resolutions", "in the middle only: the others never match",
        "in the middle only", "the released code",
        "tests/cddpm/test_unet.py::test_output_and_every_block_match",
    ),
    Choice(
        "Noise", "simplex", "one field for a whole batch, rounded to 16 bits",
        "{cddpm.noise_shared?one field for a whole batch:a field for each image}, 32 bits",
        "images of a batch are independent draws",
        "tests/cddpm/test_simplex.py::test_images_get_different_fields_unless_shared",
    ),
    Choice(
        "Noise of an oblong image", NOT_SAID, "stops, or ends the process",
        "any rectangle", "no reason for squares",
        "tests/cddpm/test_simplex.py::test_rectangles_are_crops_of_the_same_plane",
    ),
    Choice(
        "Epochs of the diffusion model", "1,600", "1,200", "{cddpm.train.epochs}", "the paper",
        "tests/test_config.py::test_paper_profile_is_the_papers_setting",
    ),
    Choice(
        "Range of a reconstruction", NOT_SAID, "not clipped",
        "clipped to [0, 1] in the book's chapters; not clipped by `load_reference`",
        "a reconstruction is an image",
        "tests/cddpm/test_model.py::test_reconstructions_are_images_of_each_level",
    ),
    Choice(
        "Noise levels of the test", "250, 500, 750", "step indices 249, 499, 749",
        "{cddpm.levels}, counted from 1", SAME,
        "tests/cddpm/test_model.py::test_level_t_is_step_index_t_minus_1",
    ),
    Choice(
        "Segmentation network", "64, 128, 256", "64, 128, 256, 512",
        "{sadm.depth} scales from {sadm.width} on", "the released code",
        "tests/sadm/test_network.py::test_parameter_count",
    ),
    Choice(
        "Slices of a training", NOT_SAID, "any slice of a volume",
        "those that have at least 5 % brain; tests take all",
        "an empty slice teaches nothing",
        "tests/data/test_slices.py::test_only_slices_with_enough_brain_are_drawn",
    ),
    Choice(
        "Diffusion model in stage II", "frozen", "its batch norm and stochastic depth go on",
        "{sadm.frozen_encoder?frozen, with its batch norm:its batch norm goes on}",
        "frozen means frozen",
        "tests/sadm/test_frozen.py::test_switch_decides_whether_the_encoder_drifts",
    ),
    Choice(
        "Random seed", NOT_SAID, "reset to 42 by an import; 0 counts as none",
        "one seed decides every draw", "a run can be repeated",
        "tests/test_stages.py::test_training_again_gives_the_same_weights",
    ),
    Choice(
        "Choice of the checkpoint", NOT_SAID, "the best on a few random, augmented slices",
        "the last one", "the best of noisy measurements is a matter of luck",
        "tests/test_stages.py::test_recorded_error_is_that_of_the_kept_weights",
    ),
    Choice(
        "Data range of SSIM", NOT_SAID, "the larger range of the two volumes",
        "the larger range of the two volumes (setting {evaluation.ssim_range})", SAME,
        "tests/evaluation/test_anomaly_map.py::test_the_data_range_may_be_fixed",
    ),
    Choice(
        "Score", "x̃ + ŷ", "x̃ + ŷ, only x̃ behind a median filter",
        "x̃ + ŷ, x̃ behind a median over {evaluation.median} voxels", SAME,
        "tests/evaluation/test_anomaly_map.py::test_maps_equal_reference_test_step",
    ),
    Choice(
        "Subjects that set the threshold", "validation", "90 of 100 (BraTS21) and 169 of 175 "
        "(ATLAS) were trained on", "the first {data.holdout}, which no model is trained on",
        "a threshold must not know the training set",
        "tests/evaluation/test_stage.py::test_validation_subjects_are_the_held_out_ones",
    ),
    Choice(
        "Subjects that are tested", "disjoint", "9 healthy ones are trained on or validated with",
        "known ones are refused", "disjoint",
        "tests/evaluation/test_stage.py::test_subjects_that_were_trained_on_are_refused",
    ),
    Choice(
        "Saved weights", "–", "loaded with missing names passed over; executable pickles",
        "strict; safetensors", "a wrong file must not look right",
        "tests/reference/test_checkpoint.py::test_a_payload_is_refused_and_does_not_run",
    ),
)  # fmt: skip
