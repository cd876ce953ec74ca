"""Faults that detectors are known for, as changes of our code, and the tests that see them.

The numbers are those of the list of pitfalls of detection. The numbers 9, 10 and 22 are about label
maps, see segmentation_faults.py. The number 8 is about polygons.
"""

from faults import Fault

PROPERTIES = 'tests/boxes/test_boxes_properties.py::test_'
TORCHVISION = 'tests/boxes/test_boxes_torchvision.py::test_'
METRIC = 'tests/metrics/test_detection.py::test_'
WARP = 'tests/image/test_warp.py::test_'
CHECKS = 'tests/data/test_boxes_checks.py::test_'
COCO = 'tests/data/test_boxes_coco.py::test_'
CELLS = 'tests/models/test_detector_cells.py::test_'
TASK = 'tests/tasks/test_detection_task.py::test_'
CONVENTIONS = 'tests/tasks/test_detection_conventions.py::test_'
COMPOSITION = 'tests/tasks/test_detection_composition.py::test_'
YOLOX = 'tests/pretrained/test_yolox_weights.py::test_'
YOLOX_LOSS = 'tests/tasks/test_yolox_loss.py::test_'
PREDICT = 'tests/cli/predict/test_detections_predict.py::test_'
UPDATE = 'tests/train/test_update.py::test_'

FAULTS = (
    Fault(
        '1 a pixel more in the sides of a box',
        'boxes/conversions.py',
        'jnp.prod(jnp.maximum(high - low, 0), axis=-1)',
        'jnp.prod(jnp.maximum(high - low + 1, 0), axis=-1)',
        (
            PROPERTIES + 'boxes_have_no_extra_pixel',
            TORCHVISION + 'overlaps_of_all_pairs',
        ),
    ),
    Fault(
        '1 a pixel more in the sides for the metric',
        'metrics/detection.py',
        'size = kept[:, :1:-1] - low',
        'size = kept[:, :1:-1] - low + 1',
        (METRIC + 'all_twelve_numbers_are_those_of_pycocotools',),
    ),
    Fault(
        '1 the first pixel of VOC is 1 and stays so',
        'data/boxes_voc.py',
        'edges[have_area(boxes), :2] -= begin',
        'edges[have_area(boxes), :2] -= 0',
        ('tests/data/test_boxes_voc.py::test_numbers_from_1_become_edges',),
    ),
    Fault(
        '2 x before y in the boxes of COCO',
        'boxes/conversions.py',
        'jnp.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)',
        'jnp.stack([ymin, xmin, ymax - ymin, xmax - xmin], axis=-1)',
        (PROPERTIES + 'the_first_axis_is_vertical',),
    ),
    Fault(
        '2 width before height in the cells of a map',
        'models/detectors/dense_detector.py',
        'shape = (-(-size[0] // stride), -(-size[1] // stride))',
        'shape = (-(-size[1] // stride), -(-size[0] // stride))',
        (
            CELLS + 'cells_by_number',
            CELLS + 'each_cell_sees_the_pixels_around_its_centre[make_dense]',
        ),
    ),
    Fault(
        '2 width before height in the limits of boxes',
        'tasks/detection/network.py',
        'height, width = size_of(images)',
        'width, height = size_of(images)',
        (
            CONVENTIONS + 'the_limits_of_boxes_are_height_and_width_twice',
            CONVENTIONS + 'a_wide_image_has_boxes_at_all_places',
        ),
    ),
    Fault(
        '2 ratios of anchors are widths over heights',
        'boxes/anchors.py',
        'slopes = np.sqrt(np.asarray(ratios, np.float64))',
        'slopes = 1 / np.sqrt(np.asarray(ratios, np.float64))',
        (CELLS + 'anchors_by_number', TORCHVISION + 'anchors'),
    ),
    Fault(
        '3 edges are resized as if they were centres of pixels',
        'image/warp.py',
        'matrix[1, 1] = target[1] / source[1]\n',
        'matrix[1, 1] = target[1] / source[1]\n'
        '        matrix[:, 2] = (np.diag(matrix) - 1) / 2\n',
        (
            WARP + 'resizing_has_no_half_pixel_shift',
            WARP + 'letterbox_comes_back_for_every_size',
        ),
    ),
    Fault(
        '3 the same on the way back',
        'tasks/detection/evaluation.py',
        '(boxes - shift) / scale',
        '(boxes - shift + 0.5) / scale - 0.5',
        (
            CONVENTIONS + 'boxes_come_back_from_the_canvas_for_every_size',
            TASK + 'evaluation_keeps_every_object_and_its_original_box',
        ),
    ),
    Fault(
        '4 RoIAlign half a cell further down and right',
        'boxes/roi_align.py',
        'start = low - 0.5',
        'start = low',
        (
            PROPERTIES + 'roi_align_of_a_ramp_has_no_half_cell_shift',
            TORCHVISION + 'roi_align[True-_by_products]',
        ),
    ),
    Fault(
        '4 torchvision has half a cell that its RoIAlign keeps',
        'boxes/roi_align.py',
        'start = low\n',
        'start = low - 0.5\n',
        (TORCHVISION + 'roi_align[False-_by_gathers]',),
    ),
    Fault(
        '5 cells begin where their centres should be',
        'boxes/anchors.py',
        'offset: float = 0.5\n',
        'offset: float = 0.0\n',
        (CELLS + 'cells_by_number',),
    ),
    Fault(
        '5 anchors at the centres of the cells, not at their corners',
        'boxes/anchors.py',
        'offset: float = 0.0)',
        'offset: float = 0.5)',
        (CELLS + 'anchors_by_number', TORCHVISION + 'anchors'),
    ),
    Fault(
        '6 one scale for both axes of a letterbox',
        'image/warp.py',
        '    resize = Warp.resize(source, resized)\n',
        '    scale = min(target[0] / source[0], target[1] / source[1])\n'
        '    matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])\n'
        '    resize = Warp(matrix, resized)\n',
        (WARP + 'letterbox_comes_back_for_every_size',),
    ),
    Fault(
        '6 one scale for both axes on the way back',
        'tasks/detection/evaluation.py',
        'jnp.stack([warp[:, 0, 0], warp[:, 1, 1]], axis=-1)',
        'jnp.stack([warp[:, 0, 0], warp[:, 0, 0]], axis=-1)',
        (CONVENTIONS + 'boxes_come_back_from_the_canvas_for_every_size',),
    ),
    Fault(
        '7 pixels as stored, not upright as EXIF says',
        'data/decode.py',
        'ImageOps.exif_transpose(image, in_place=True)',
        'image.load()',
        (CHECKS + 'boxes_turn_with_the_image_in_every_orientation[6-png]',),
    ),
    Fault(
        '7 boxes of the stored image on the upright one',
        'data/boxes_checks.py',
        'return turned(image.boxes, *size.stored, size.orientation)',
        'return image.boxes',
        (CHECKS + 'boxes_of_the_stored_image_are_turned_and_counted',),
    ),
    Fault(
        '7 annotations of another size of the image are taken',
        'data/boxes_checks.py',
        'if size and image.size not in (None, size.upright, size.stored)',
        'if size and image.size == ()',
        (CHECKS + 'a_size_that_the_image_does_not_have_is_an_error',),
    ),
    Fault(
        '11 the last class is the background in training',
        'tasks/detection/two_stage.py',
        'label = jnp.where(positive, classes[index] + 1, 0)',
        'label = jnp.where(positive, classes[index], logits.shape[-1] - 1)',
        (CONVENTIONS + 'class_0_of_the_second_stage_is_the_background_in_training',),
    ),
    Fault(
        '11 the last class is the background in inference',
        'tasks/detection/two_stage.py',
        'outputs_of_classes = 1 + self.output_of_class',
        'outputs_of_classes = 0 + self.output_of_class',
        (CONVENTIONS + 'class_0_of_the_second_stage_is_the_background_in_inference',),
    ),
    Fault(
        '11 numbers of classes instead of category ids',
        'cli/predict/detection_answers.py',
        'category_ids[number] if category_ids else number',
        'number',
        (
            PREDICT + 'boxes_are_in_pixels_of_the_upright_image',
            PREDICT + 'cocos_results_are_read_by_pycocotools',
        ),
    ),
    Fault(
        '12 a crowd is learned as one object (one stage)',
        'tasks/detection/one_stage.py',
        'mask & ~crowd,',
        'mask,',
        (
            TASK
            + 'a_crowd_is_neither_learned_nor_held_against_the_model[dense_detector]',
        ),
    ),
    Fault(
        '12 a crowd is learned as background (one stage)',
        'tasks/detection/one_stage.py',
        'is_matched | ~inside_any(centers, truth, mask & crowd)',
        'is_matched | (mask.sum() >= 0)',
        (
            TASK
            + 'a_crowd_is_neither_learned_nor_held_against_the_model[dense_detector]',
        ),
    ),
    Fault(
        '12 a crowd is learned as one object (first of two stages)',
        'tasks/detection/two_stage.py',
        'mask & ~crowd,\n            positive=0.7',
        'mask,\n            positive=0.7',
        (TASK + 'a_crowd_is_neither_learned_nor_held_against_the_model[faster_rcnn]',),
    ),
    Fault(
        '12 a crowd is learned as background (first of two stages)',
        'tasks/detection/two_stage.py',
        '~positive & ~matches.ignored & ~in_crowd,',
        '~positive & ~matches.ignored,',
        (TASK + 'a_crowd_is_neither_learned_nor_held_against_the_model[faster_rcnn]',),
    ),
    Fault(
        '12 a crowd is learned as background (second of two stages)',
        'tasks/detection/two_stage.py',
        '~positive & is_region & ~in_crowd,',
        '~positive & is_region,',
        (TASK + 'a_crowd_is_neither_learned_nor_held_against_the_model[faster_rcnn]',),
    ),
    Fault(
        '12 a crowd is learned as one object (second of two stages)',
        'tasks/detection/two_stage.py',
        'regions, truth, mask & ~crowd, positive=0.5',
        'regions, truth, mask, positive=0.5',
        (TASK + 'a_crowd_is_neither_learned_nor_held_against_the_model[faster_rcnn]',),
    ),
    Fault(
        '12 a crowd is learned as background (YOLOX)',
        'tasks/detection/grid_stage.py',
        'is_matched | ~inside_any(centers, truth, mask & crowd)',
        'is_matched | (mask.sum() >= 0)',
        (YOLOX_LOSS + 'cells_in_a_crowd_have_no_loss',),
    ),
    Fault(
        '12 a crowd is learned as background (RetinaNet)',
        'tasks/detection/anchor_stage.py',
        'positive | ~(matches.ignored | in_crowd)',
        'positive | ~matches.ignored',
        (
            CONVENTIONS
            + 'anchors_learn_neither_padding_nor_crowds_and_silence_without_objects',
        ),
    ),
    Fault(
        '12 a crowd is one object for the metric',
        'metrics/detection.py',
        "'iscrowd': int(crowd)",
        "'iscrowd': 0",
        (METRIC + 'all_twelve_numbers_are_those_of_pycocotools',),
    ),
    Fault(
        "13 the metric takes the box's area",
        'metrics/detection.py',
        "'area': area,",
        "'area': box[2] * box[3],",
        (METRIC + 'all_twelve_numbers_are_those_of_pycocotools',),
    ),
    Fault(
        '13 areas at the size of the canvas',
        'tasks/detection/preparation.py',
        "'area': objects.area,",
        "'area': np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),",
        (TASK + 'evaluation_keeps_every_object_and_its_original_box',),
    ),
    Fault(
        "13 the reader takes the box's area",
        'data/boxes_coco.py',
        'bool(crowd), _area(file, area), outline)',
        'bool(crowd), width * height, outline)',
        (COCO + 'the_boxes_are_those_that_pycocotools_reads',),
    ),
    Fault(
        '14 a class without objects counts as 0',
        'metrics/detection.py',
        '        evaluation.accumulate()\n',
        '        evaluation.accumulate()\n'
        "        evaluation.eval['precision'].clip(0, out=evaluation.eval['precision'])\n",
        (
            METRIC
            + 'a_class_without_objects_is_left_out_and_one_without_detections_is_0',
            METRIC + 'all_twelve_numbers_are_those_of_pycocotools',
        ),
    ),
    Fault(
        '14 a class without detections is left out',
        'metrics/detection.py',
        'coco_truth = _coco(images, truth, classes)',
        "given = {one['category_id'] for one in detections}\n"
        "        kept = [one for one in truth if one['category_id'] in given]\n"
        '        coco_truth = _coco(images, kept, classes)',
        (
            METRIC
            + 'a_class_without_objects_is_left_out_and_one_without_detections_is_0',
        ),
    ),
    Fault(
        '15 an image has 100 detections of all classes together',
        'metrics/detection.py',
        "valid = records['valid'][row]\n",
        "valid = records['valid'][row]\n"
        "    valid = valid & (np.argsort(np.argsort(-records['scores'][row])) < 100)\n",
        (METRIC + 'an_image_counts_a_hundred_detections_of_each_class',),
    ),
    Fault(
        '15 detections need a score to count',
        'tasks/detection/evaluation.py',
        "'valid': outputs['valid'],",
        "'valid': outputs['valid'] & (outputs['scores'] > 0.05),",
        (CONVENTIONS + 'detections_with_low_scores_are_kept_for_the_metric',),
    ),
    Fault(
        '15 the least score is one that users like to see',
        'tasks/detection/task.py',
        'Field(\n        0.01,\n',
        'Field(\n        0.25,\n',
        (CONVENTIONS + 'detections_with_low_scores_are_kept_for_the_metric',),
    ),
    Fault(
        '16 ties follow the order of the hosts',
        'metrics/detection.py',
        "np.argsort(records['index'], kind='stable')",
        "np.arange(len(records['index']))",
        (
            METRIC + 'the_order_of_the_hosts_does_not_matter',
            METRIC + 'all_twelve_numbers_are_those_of_pycocotools',
        ),
    ),
    Fault(
        '17 classes are moved apart before suppression (sorted form)',
        'boxes/nms.py',
        '    boxes = boxes[order]\n    classes = classes[order]\n',
        '    shifts = classes[order] * (boxes.max() + 1)\n'
        '    boxes = boxes[order] + shifts[:, None]\n'
        '    classes = jnp.zeros_like(classes)\n',
        (
            PROPERTIES + 'classes_are_compared_and_not_moved_apart[-308.0-greedy]',
            PROPERTIES + 'classes_are_compared_and_not_moved_apart[40000.0-greedy]',
        ),
    ),
    Fault(
        '17 classes are moved apart before suppression (argmax form)',
        'boxes/nms.py',
        '    areas = conversions.area(boxes)\n'
        '    places = jnp.arange(len(scores))\n\n'
        '    def take(',
        '    boxes = boxes + (classes * (boxes.max() + 1))[:, None]\n'
        '    classes = jnp.zeros_like(classes)\n'
        '    areas = conversions.area(boxes)\n'
        '    places = jnp.arange(len(scores))\n\n'
        '    def take(',
        (
            PROPERTIES + 'classes_are_compared_and_not_moved_apart[-308.0-by_argmax]',
            PROPERTIES + 'classes_are_compared_and_not_moved_apart[40000.0-by_argmax]',
        ),
    ),
    Fault(
        '18 padding is matched (largest IoU)',
        'boxes/matching.py',
        'jnp.where(valid, overlap.pairwise_iou(candidates, truth), 0)',
        'overlap.pairwise_iou(candidates, truth)',
        (PROPERTIES + 'padding_of_the_truth_matches_nothing',),
    ),
    Fault(
        '18 padding is matched (SimOTA)',
        'boxes/matching.py',
        '    in_box = _is_inside(centers, truth) & valid\n',
        '    valid = jnp.ones_like(valid)\n'
        '    in_box = _is_inside(centers, truth) & valid\n',
        (PROPERTIES + 'padding_of_the_truth_matches_nothing',),
    ),
    Fault(
        '18 padding is matched (task-aligned)',
        'boxes/matching.py',
        'inside = _is_inside(centers, truth) & valid\n    ious = jnp.where(inside',
        'inside = _is_inside(centers, truth)\n    ious = jnp.where(inside',
        (PROPERTIES + 'padding_of_the_truth_matches_nothing',),
    ),
    Fault(
        '18 padding has a cost (Hungarian)',
        'boxes/matching.py',
        'costs = jnp.where(valid, costs, 0)',
        'costs = jnp.where(valid | True, costs, 0)',
        (PROPERTIES + 'padding_of_the_truth_matches_nothing',),
    ),
    Fault(
        '18 regions in padded slots are background',
        'tasks/detection/two_stage.py',
        'is_region = conversions.area(regions) > 0',
        'is_region = conversions.area(regions) >= 0',
        (CONVENTIONS + 'regions_in_padded_slots_change_no_loss',),
    ),
    Fault(
        '19 images without objects have no loss (one stage)',
        'tasks/detection/one_stage.py',
        '_LEAST_WEIGHT = 0.1',
        '_LEAST_WEIGHT = 0.0',
        (
            TASK + 'a_scene_without_objects_has_a_finite_loss_and_teaches_silence'
            '[dense_detector]',
        ),
    ),
    Fault(
        '19 images without objects have no loss (YOLOX)',
        'tasks/detection/grid_stage.py',
        'jnp.sum(jnp.where(counts, object_values, 0))',
        'jnp.sum(jnp.where(counts & mask.any(), object_values, 0))',
        (YOLOX_LOSS + 'images_without_objects_teach_only_that_there_are_none',),
    ),
    Fault(
        '19 images without objects have no loss (RetinaNet)',
        'tasks/detection/anchor_stage.py',
        'jnp.sum(jnp.where(counts, class_values, 0))',
        'jnp.sum(jnp.where(counts & mask.any(), class_values, 0))',
        (
            CONVENTIONS
            + 'anchors_learn_neither_padding_nor_crowds_and_silence_without_objects',
        ),
    ),
    Fault(
        '19 detections in images without objects do not count',
        'metrics/detection.py',
        'detections += _detections_of(records, row, image)',
        "if records['truth_mask'][row].any():\n"
        '            detections += _detections_of(records, row, image)',
        (METRIC + 'all_twelve_numbers_are_those_of_pycocotools',),
    ),
    Fault(
        '20 boxes without area after clipping are kept',
        'data/boxes_checks.py',
        '        (_OUTSIDE, is_outside),\n',
        '        (_OUTSIDE, is_outside & False),\n',
        (CHECKS + 'an_unusable_box_is_dropped_counted_and_named',),
    ),
    Fault(
        '20 they are dropped and not counted',
        'data/boxes_checks.py',
        'findings.add(reason, int(is_dropped.sum()), image.path)',
        'findings.add(reason, 0, image.path)',
        (
            CHECKS + 'an_unusable_box_is_dropped_counted_and_named',
            CHECKS + 'every_box_is_usable_or_counted',
        ),
    ),
    Fault(
        '20 boxes without area after an augmentation are kept',
        'image/warp.py',
        'return clipped, is_large & is_visible',
        'return clipped, is_visible',
        (WARP + 'boxes_of_less_than_a_pixel_are_dropped',),
    ),
    Fault(
        '21 a best IoU of 0 makes anchors positive',
        'boxes/matching.py',
        '(ious == best_of_truth) & (ious > 0)',
        'ious == best_of_truth',
        (
            PROPERTIES + 'an_image_without_truth_matches_nothing',
            PROPERTIES + 'padding_of_the_truth_matches_nothing',
        ),
    ),
    Fault(
        '23 the canvas fits the largest image so far',
        'tasks/shared/placement.py',
        '    map_ = WARPS[rule](pixels.shape[:2], target)\n',
        "    by_rule.most = np.maximum(pixels.shape[:2], getattr(by_rule, 'most', 1))\n"
        '    map_ = WARPS[rule](tuple(by_rule.most.tolist()), target)\n',
        (TASK + 'the_canvas_depends_on_the_image_alone',),
    ),
    Fault(
        '23 images are scaled by the brightest of the batch',
        'tasks/shared/image_network.py',
        "images = color.to_float(jnp.asarray(inputs['image']), self.dtype)\n",
        "images = color.to_float(jnp.asarray(inputs['image']), self.dtype)\n"
        '        images = images / images.mean()\n',
        (TASK + 'detections_are_of_their_own_image_alone[dense_detector]',),
    ),
    Fault(
        '23 canvases of published detectors grow to the largest so far',
        'tasks/detection/canvases.py',
        '    canvas_size = tuple(map(_rounded_up, size))\n',
        '    _rounded_up.most = np.maximum(size, getattr(_rounded_up, "most", 1))\n'
        '    canvas_size = tuple(map(_rounded_up, _rounded_up.most.tolist()))\n',
        (
            CONVENTIONS
            + 'the_canvas_of_a_published_detector_depends_on_its_image_alone',
        ),
    ),
    Fault(
        '24 a flip moves boxes a pixel too little',
        'tasks/detection/augmentation.py',
        '    width = image.shape[1]\n',
        '    width = image.shape[1] - 1\n',
        (TASK + 'a_flip_mirrors_boxes_with_the_image',),
    ),
    Fault(
        '24 points are mirrored as numbers of pixels',
        'image/warp.py',
        'matrix[1, 2] = size[1]',
        'matrix[1, 2] = size[1] - 1',
        (WARP + 'pixels_and_coordinates_move_together',),
    ),
    Fault(
        '24 boxes of what was cropped away land on the grey canvas',
        'tasks/detection/preparation.py',
        '        for map_ in maps:\n            objects = objects.moved(map_)\n',
        '        objects = objects.moved(functools.reduce(Warp.then, maps))\n',
        (TASK + 'boxes_move_with_their_pixels[cropped-64]',),
    ),
    Fault(
        '24 boxes are scaled and not shifted',
        'tasks/detection/preparation.py',
        'warp.kept_boxes(map_.boxes(self.boxes), map_.size)',
        'warp.kept_boxes(self.boxes * np.tile(np.diag(map_.matrix), 2), map_.size)',
        (TASK + 'boxes_move_with_their_pixels[scaled-64]',),
    ),
    Fault(
        '24 boxes stay where their image of a mosaic was',
        'tasks/detection/composition.py',
        'boxes = clipped[keep] + np.tile(corner, 2)',
        'boxes = clipped[keep] + np.tile(corner, 2) * 0',
        (COMPOSITION + 'boxes_of_a_mosaic_are_around_the_pixels_of_their_objects',),
    ),
    Fault(
        'colour order of YOLOX stays BGR',
        'pretrained/families/yolox.py',
        'leaves[stem] = _rgb(leaves[stem])',
        'leaves[stem] = leaves[stem]',
        (
            YOLOX + 'the_stem_is_converted_to_rgb_and_boxes_to_y_before_x',
            YOLOX + 'detections_equal_the_authors',
        ),
    ),
    Fault(
        'bfloat16 boxes and scores (one stage)',
        'models/detectors/dense_detector.py',
        'dtype=self.param_dtype,\n            param_dtype=self.param_dtype,\n            **',
        'dtype=self.dtype,\n            param_dtype=self.param_dtype,\n            **',
        (CONVENTIONS + 'bfloat16_ends_before_boxes_and_scores',),
    ),
    Fault(
        'bfloat16 boxes and scores (two stages)',
        'models/detectors/region_heads.py',
        "types = {'dtype': self.param_dtype, 'param_dtype': self.param_dtype}",
        "types = {'dtype': self.dtype, 'param_dtype': self.param_dtype}",
        (CONVENTIONS + 'bfloat16_ends_before_boxes_and_scores',),
    ),
    Fault(
        'bfloat16 boxes and scores (YOLOX)',
        'models/detectors/yolox.py',
        'dtype=self.common.param_dtype,\n            param_dtype',
        'dtype=self.common.dtype,\n            param_dtype',
        (CONVENTIONS + 'bfloat16_ends_before_boxes_and_scores',),
    ),
    Fault(
        'EMA: evaluation by the last weights',
        'core/state.py',
        "params = {**self.params, **self.ema.get('params', {})}",
        'params = self.params',
        (TASK + 'evaluation_is_of_the_averaged_weights_and_statistics',),
    ),
    Fault(
        'EMA: evaluation by the last statistics',
        'core/state.py',
        "{**self.model_state, **self.ema.get('model_state', {})}",
        'self.model_state',
        (TASK + 'evaluation_is_of_the_averaged_weights_and_statistics',),
    ),
    Fault(
        'mosaic ends a step late',
        'data/other_examples.py',
        'if step >= self._end:',
        'if step > self._end:',
        (
            COMPOSITION + 'others_end_at_their_step',
            COMPOSITION + 'batches_hold_others_only_before_the_end',
            COMPOSITION + 'the_config_says_when_mosaic_and_mixup_end',
        ),
    ),
    Fault(
        'mosaic never ends',
        'tasks/detection/composition.py',
        'end = round(augment.compose_until * total)',
        'end = total',
        (COMPOSITION + 'the_config_says_when_mosaic_and_mixup_end',),
    ),
    Fault(
        'mean of the means of images in the loss',
        'tasks/detection/one_stage.py',
        "'class': (class_values, weights),",
        "'class': (class_values / weights, jnp.ones_like(weights)),",
        (CONVENTIONS + 'the_loss_of_a_batch_is_no_mean_of_the_means_of_its_images',),
    ),
    Fault(
        'mean of the means of microbatches in the loss',
        'train/update.py',
        'params, model_state, batch, totals\n        )\n        return gradient',
        'params, model_state, batch\n        )\n        return gradient',
        (UPDATE + 'microbatches_do_not_change_the_step',),
    ),
    Fault(
        'mean of the means of devices in the loss',
        'train/update.py',
        'divisors = totals or _mean_over_replicas(weights)',
        'divisors = totals or weights',
        (
            'tests/train/test_layouts.py::'
            'test_under_pmap_a_mean_is_over_the_weights_of_all_devices',
        ),
    ),
    Fault(
        'ids: the spec forgets those of the annotations',
        'tasks/detection/task.py',
        'details=Details(category_ids=tuple(info.category_ids)),',
        'details=Details(),',
        (CONVENTIONS + 'category_ids_of_the_annotations_come_back',),
    ),
    Fault(
        'ids: classes are numbered in another order than their names',
        'data/boxes_dataset.py',
        '{label: row for row, label in enumerate(self._listing.classes)}',
        '{label: len(self._listing.classes) - 1 - row\n'
        '                  for row, label in enumerate(self._listing.classes)}',
        (
            CONVENTIONS + 'category_ids_of_the_annotations_come_back',
            COCO + 'the_boxes_are_those_that_pycocotools_reads',
        ),
    ),
)
