"""The tasks by name: one folder each, with `DEFAULTS`, `describe` and `make` in task.py."""

NAMES = {
    name: f'jaxvision.tasks.{name}.task'
    for name in (
        'captioning',
        'classification',
        'few_shot',
        'gan',
        'inpainting',
        'super_resolution',
        'video',
        'video_prediction',
        'video_summary',
    )
}
