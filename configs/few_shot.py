"""Few-shot learning: classes that training never saw, told by a few examples each."""

from jaxvision import config as configs


def get_config(source='digit_pairs'):
    config = configs.default('few_shot')
    config.data.source, config.data.image_size, config.data.batch_size = source, 56, 1
    config.model.name, config.model.variant = 'cnn', '32x1-32x1-64x1-64x1-64x1'
    config.task.layer = 'stage5'
    config.task.augment.translate = 0.1
    config.optimizer.lr, config.optimizer.schedule = 2e-3, 'one_cycle'
    config.train.steps = '2000'
    config.train.eval_every = config.train.checkpoint_every = '1000'
    return config
