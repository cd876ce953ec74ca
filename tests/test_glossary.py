"""One concept has one word: public names, docstrings and messages keep to docs/glossary.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / 'docs' / 'glossary.md'
FILES = sorted([*ROOT.glob('jaxvision/**/*.py'), *ROOT.glob('configs/*.py')])

# The word that is not used, and the glossary's word for it.
INSTEAD = {
    'deviation': 'std',
    'judge': 'feature extractor',
    'films?': 'video',
    'persons?': 'user',
    'told': '(say what is meant)',
    'squash(ed)?': 'stretch',
    'damage': 'degradation',
}
# Standard deviation is a term. Files, and their bytes, can be damaged.
ALLOWED = re.compile(
    r'standard deviation|damaged?\b.{0,40}(file|checkpoint|image|header)'
)


def terms():
    return re.findall(r'^- \*\*(.+?)\*\*: (.+)$', GLOSSARY.read_text(), re.M)


def public_texts(path):
    """Yield (line, text) of public names, docstrings and other strings of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        name = getattr(node, 'name', None) or '_'
        if not name.startswith('_'):
            yield node.lineno, re.sub('_|(?<=[a-z])(?=[A-Z])', ' ', name)
        if isinstance(node, ast.Constant) and ' ' in str(node.value):
            # A string without a space may be a name of a file or a random stream.
            yield node.lineno, str(node.value)


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_texts_use_the_words_of_the_glossary(path):
    unwanted = re.compile(rf'\b({"|".join(INSTEAD)})\b', re.I)
    found = []
    for line, text in public_texts(path):
        rest = ALLOWED.sub('', ' '.join(text.split()))
        for match in unwanted.finditer(rest):
            found.append(f'{path.name}:{line}: {match[0]}')
    assert not found


def test_each_term_has_one_sentence_and_stands_once():
    names = [name for name, _ in terms()]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
    for name, sentence in terms():
        assert sentence.endswith('.'), name
        assert len(sentence.split()) <= 25, name


def test_no_term_is_an_unwanted_word():
    unwanted = re.compile(rf'({"|".join(INSTEAD)})', re.I)
    assert not [name for name, _ in terms() if unwanted.fullmatch(name)]
