"""Stands for the process of a trial: some steps that are saved, and a function of the parameters.

    python stub_trial.py FOLDER UNTIL

It keeps to the contract of jaxvision.cli.sweep.process with code of its own. `model.variant` says
how it behaves: 'fail', 'nan', 'suicide' (killed once in the middle), 'doomed' (killed always).
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time

STEPS = 8
EXAMPLES_OF_A_STEP = 100


def read(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write(path, value):
    with open(path + '.part', 'w') as file:
        json.dump(value, file)
    os.replace(path + '.part', path)


def watch_parent():
    while os.read(0, 1):
        pass
    os._exit(75)


def finish(result, state, until):
    before = read('result.json') or {'evaluations': {}}
    evaluations = before['evaluations']
    if state == 'trained':
        evaluations[until] = {
            'validation/accuracy': result['value'],
            'eval/accuracy': 1,
        }
    error = '' if state == 'trained' else 'the loss is not finite'
    record = {'state': state, 'evaluations': evaluations, 'seconds': 1, 'error': error}
    write('result.json', record)
    with open('ends.txt', 'a') as file:
        file.write(f'{until}\n')


def main():
    folder, until = sys.argv[1:]
    threading.Thread(target=watch_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    os.chdir(folder)
    with open('stub.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        train(until)


def train(until):
    last = STEPS
    if until != 'end':
        last = int(until.split()[0]) // EXAMPLES_OF_A_STEP
    before = read('result.json') or {'evaluations': {}}
    if isinstance(before['evaluations'].get(until), dict):
        return
    settings = read('trial.json')
    variant = settings['config']['model']['variant']
    if variant == 'fail':
        print('error: no such data')
        sys.exit(2)
    state = read('state.json') or {'step': 0, 'value': 0.0}
    while state['step'] < last:
        step = state['step'] + 1
        # Rounded at every step, so that another history has other bits.
        value = state['value'] * 1.01 + settings['config']['optimizer']['lr'] / step
        time.sleep(float(os.environ.get('STUB_SECONDS', '0')))
        state = {'step': step, 'value': value}
        if variant == 'doomed':
            os.kill(os.getpid(), signal.SIGKILL)
        write('state.json', state)
        if variant == 'suicide' and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    finish(state, 'diverged' if variant == 'nan' else 'trained', until)


main()
