"""The last step of a detector by a reader of the raw predictions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.boxes import nms


def suppressed(raw, options, several):
    """Suppress raw predictions with the package's NMS.

    Args:
        raw: 'boxes' [B, N, 4] or [B, N, K, 4] and 'scores' [B, N, K].
        options: the config's task.
        several: whether a candidate may give detections of several classes.

    Returns:
        The outputs of the detector's `predict`, with boxes as they are.
    """
    boxes = jnp.asarray(raw['boxes'])
    scores = jnp.asarray(raw['scores'])
    classes = jnp.argmax(scores, axis=2)
    if several:
        shape = (*scores.shape, 4)
        per_class = boxes if boxes.ndim == 4 else boxes[:, :, None]
        boxes = jnp.broadcast_to(per_class, shape).reshape(len(scores), -1, 4)
        classes = jnp.broadcast_to(jnp.arange(scores.shape[2]), scores.shape)
        classes = classes.reshape(len(scores), -1)
        scores = scores.reshape(len(scores), -1)
    else:
        scores = scores.max(axis=2)

    @jax.vmap
    def suppress(boxes, scores, classes):
        return nms.by_argmax(
            boxes,
            scores,
            classes,
            iou=options.nms_iou,
            limit=options.most_detections,
            score=options.least_score,
        )

    kept = jax.jit(suppress)(boxes, scores, classes)
    rows = np.arange(len(scores))[:, None]
    return {
        'boxes': np.asarray(boxes[rows, kept.index] * kept.valid[..., None]),
        'scores': np.asarray(scores[rows, kept.index] * kept.valid),
        'classes': np.asarray(classes[rows, kept.index] * kept.valid),
        'valid': np.asarray(kept.valid),
    }
