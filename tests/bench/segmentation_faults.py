"""Faults that segmentation is known for, as changes of our code, and the tests that see them.

The numbers are those of the list of pitfalls of detection and segmentation.
"""

from faults import Fault

LOSSES = 'tests/losses/test_segmentation_losses.py::test_'
METRIC = 'tests/metrics/test_segmentation_metrics.py::test_'
SURFACES = 'tests/metrics/test_surfaces.py::test_'
INSTANCES = 'tests/metrics/test_instances.py::test_'
LABEL_MAPS = 'tests/image/test_label_maps.py::test_'
PICTURES = 'tests/viz/test_segmentation_pictures.py::test_'

FAULTS = (
    Fault(
        '3 half a pixel is missing where label maps are moved by axis',
        'image/label_maps.py',
        'places = np.arange(lengths[-1]) + 0.5',
        'places = np.arange(lengths[-1]) + 0.0',
        (
            LABEL_MAPS + 'labels_move_with_their_image_by_every_rule[letterbox]',
            LABEL_MAPS + 'the_fast_form_for_scales_equals_the_general_one',
        ),
    ),
    Fault(
        '24 half a pixel is missing where label maps are turned',
        'image/label_maps.py',
        'np.mgrid[: size[0], : size[1]] + 0.5',
        'np.mgrid[: size[0], : size[1]] + 0.0',
        (LABEL_MAPS + 'labels_move_with_their_image',),
    ),
    Fault(
        '9 labels of neighbours are averaged',
        'image/label_maps.py',
        '    target[inside] = labels[np.ix_(rows, columns)]\n',
        '    right = labels[np.ix_(rows, np.minimum(columns + 1, columns.max()))]\n'
        '    target[inside] = labels[np.ix_(rows, columns)] // 2 + right // 2\n',
        (LABEL_MAPS + 'a_moved_label_map_has_no_number_that_it_did_not_have',),
    ),
    Fault(
        '10 ignored pixels count in the mean of the cross-entropy',
        'losses/segmentation.py',
        'return jnp.sum(weights * values), jnp.sum(weights)',
        'return jnp.sum(weights * values), jnp.sum(jnp.ones_like(weights))',
        (
            LOSSES + 'losses_equal_those_of_pytorch_libraries[cross_entropy-0]',
            LOSSES + 'padding_by_ignored_pixels_changes_nothing[cross_entropy]',
            LOSSES + 'an_image_without_labels_has_no_value_no_weight_and_no_gradient'
            '[cross_entropy]',
        ),
    ),
    Fault(
        '10 ignored pixels are false positives in Dice',
        'losses/segmentation.py',
        'return jnp.where(labelled[..., None], probabilities, 0), one_hot, labelled',
        'return probabilities, one_hot, labelled',
        (
            LOSSES + 'losses_equal_those_of_pytorch_libraries[dice-0]',
            LOSSES + 'padding_by_ignored_pixels_changes_nothing[dice]',
        ),
    ),
    Fault(
        '10 NaN at an ignored pixel reaches the gradient',
        'losses/segmentation.py',
        'return jnp.where(labelled[..., None], logits.astype(dtype), 0), labelled',
        'return logits.astype(dtype), labelled',
        (
            LOSSES + 'ignored_pixels_touch_nothing_whatever_the_network_answers'
            '[cross_entropy]',
            LOSSES
            + 'ignored_pixels_touch_nothing_whatever_the_network_answers[lovasz]',
        ),
    ),
    Fault(
        '10 ignored pixels are sorted among the others in the Lovasz loss',
        'losses/segmentation.py',
        'keys = jax.lax.stop_gradient(jnp.where(counted, -errors, 1))',
        'keys = jax.lax.stop_gradient(jnp.where(counted, -errors, -1))',
        (LOSSES + 'losses_equal_those_of_pytorch_libraries[lovasz-0]',),
    ),
    Fault(
        '10 ignored pixels count as wrong in the metric',
        'metrics/segmentation.py',
        '    counted = truth != IGNORED\n    rows',
        '    truth = np.where(truth == IGNORED, 0, truth)\n'
        '    counted = truth != IGNORED\n    rows',
        (METRIC + 'metrics_equal_those_of_scikit_learn',),
    ),
    Fault(
        '10 objects in ignored pixels are false positives',
        'metrics/instances.py',
        'return self.ignored_areas > self.predicted_areas',
        'return self.ignored_areas < 0',
        (
            INSTANCES
            + 'ignored_pixels_excuse_a_prediction_of_which_they_are_more_than_half',
            INSTANCES + 'panoptic_quality_has_the_arithmetic_of_panopticapi',
        ),
    ),
    Fault(
        '14 a class that is only predicted is left out of the mean IoU',
        'metrics/segmentation.py',
        'return _ratio(hits, predicted + labelled - hits)',
        'return _ratio(hits, np.where(labelled, predicted + labelled - hits, 0))',
        (METRIC + 'a_class_that_is_only_predicted_counts_and_an_absent_one_does_not',),
    ),
    Fault(
        '22 a missed object has a distance of 0',
        'metrics/surfaces.py',
        'return np.full(np.count_nonzero(surface), diagonal)',
        'return np.zeros(0)',
        (
            SURFACES + 'empty_masks_have_the_stated_values',
            SURFACES + 'the_mean_over_images_gets_worse_with_every_missed_object',
        ),
    ),
    Fault(
        '22 a class that is missed is left out of the distances',
        'metrics/surfaces.py',
        'if true_mask.any() or predicted_mask.any():',
        'if true_mask.any() and predicted_mask.any():',
        (SURFACES + 'records_of_label_maps_have_the_distances_of_each_class',),
    ),
    Fault(
        '22 a class that an image lacks counts in the mean of Dice',
        'losses/segmentation.py',
        '    present = pixels != 0\n',
        '    present = pixels >= 0\n',
        (LOSSES + 'losses_equal_those_of_pytorch_libraries[dice-1]',),
    ),
    Fault(
        'threshold an IoU of exactly the threshold is a match',
        'metrics/instances.py',
        'return 100 * self.common > percent * self.union',
        'return 100 * self.common >= percent * self.union',
        (INSTANCES + 'an_iou_of_exactly_a_threshold_is_no_match',),
    ),
    Fault(
        'spacing distances are in pixels',
        'metrics/surfaces.py',
        'distance_transform_edt(~other, sampling=steps)',
        'distance_transform_edt(~other)',
        (SURFACES + 'distances_equal_those_of_deepmind[1]',),
    ),
    Fault(
        'background hidden classes are painted',
        'viz/segmentation.py',
        ' & ~np.isin(labels, list(hidden))',
        '',
        (PICTURES + 'hidden_and_ignored_pixels_keep_their_image',),
    ),
)
