"""gke.yaml against its schema, and its parts against each other."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from stand_ins import LAUNCH

SERVICE, JOBSET = yaml.safe_load_all((LAUNCH / 'gke.yaml').read_text())
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parent / 'gke_schema.json').read_text())
)
JOB = ('spec', 'replicatedJobs', 0, 'template', 'spec')
POD = (*JOB, 'template', 'spec')
RULE = ('spec', 'failurePolicy', 'rules', 0)


def field(document, path):
    for key in path:
        document = document[key]
    return document


def test_gke_fits_the_schemas():
    SCHEMA.validate(SERVICE)
    SCHEMA.validate(JOBSET)


@pytest.mark.parametrize(
    'path, value',
    [
        (('apiVersion',), 'jobset.x-k8s.io/v1alpha1'),
        (('spec', 'failurepolicy'), {}),
        ((*RULE, 'action'), 'Restart'),
        ((*RULE, 'onJobFailureReasons'), 'PodFailurePolicy'),
        ((*JOB, 'completions'), '4'),
        ((*JOB, 'completionMode'), 'indexed'),
        ((*JOB, 'podFailurePolicy', 'rules', 0, 'onExitCodes', 'values'), ['75']),
        ((*POD, 'restartPolicy'), 'never'),
        ((*POD, 'nodeSelector', 'cloud.google.com/gke-spot'), True),
        ((*POD, 'containers', 0, 'args', 0), {'--config': 'configs/cnn.py'}),
        ((*POD, 'containers', 0, 'volumeMounts', 0, 'path'), '/mnt/runs'),
    ],
)
def test_gke_schema_refuses_a_mistake(path, value):
    document = copy.deepcopy(JOBSET)
    field(document, path[:-1])[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(document)


def test_gke_parts_agree():
    job, pod = field(JOBSET, JOB), field(JOBSET, POD)
    (container,) = pod['containers']
    arguments = dict(
        argument.removeprefix('--').split('=', 1) for argument in container['args']
    )
    jobset, jobs = (
        JOBSET['metadata']['name'],
        JOBSET['spec']['replicatedJobs'][0]['name'],
    )
    service = SERVICE['metadata']['name']
    port = container['ports'][0]['containerPort']
    assert arguments['coordinator'] == f'{jobset}-{jobs}-0-0.{service}:{port}'
    assert JOBSET['spec']['network']['subdomain'] == service
    assert SERVICE['spec']['selector'] == {'jobset.sigs.k8s.io/jobset-name': jobset}
    assert SERVICE['spec']['clusterIP'] == 'None'
    assert job['completions'] == job['parallelism'] == int(arguments['num_processes'])
    rows, columns = pod['nodeSelector']['cloud.google.com/gke-tpu-topology'].split('x')
    assert int(rows) * int(columns) == (
        job['completions'] * container['resources']['limits']['google.com/tpu']
    )
    (mount,) = container['volumeMounts']
    assert arguments['workdir'].startswith(mount['mountPath'] + '/')
    assert mount['name'] == pod['volumes'][0]['name']


@pytest.mark.parametrize(
    'code, action',
    [
        (75, 'RestartJobSetAndIgnoreMaxRestarts'),
        (2, 'FailJobSet'),
        (1, None),
        (137, None),
    ],
)
def test_gke_takes_75_as_start_again_and_2_as_the_end(code, action):
    (policy,) = field(JOBSET, JOB)['podFailurePolicy']['rules']
    container = field(JOBSET, POD)['containers'][0]['name']
    assert policy['onExitCodes']['containerName'] == container
    if code not in policy['onExitCodes']['values']:
        assert action is None  # no rule: JobSet starts again, and counts
        return
    # The words of Kubernetes' Job controller, pkg/controller/job/pod_failure_policy.go.
    message = (
        f'Container {container} for pod default/jaxvision-workers-0-1-abcde failed with '
        f'exit code {code} matching FailJob rule at index 0'
    )
    first = next(
        rule
        for rule in JOBSET['spec']['failurePolicy']['rules']
        if 'PodFailurePolicy' in rule['onJobFailureReasons']
        and any(re.search(p, message) for p in rule['onJobFailureMessagePatterns'])
    )
    assert first['action'] == action
