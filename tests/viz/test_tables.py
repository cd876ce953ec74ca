"""Tables on a screen."""

from jaxvision.viz.tables import Table, printable


def test_rows_of_later_batches_are_aligned_with_the_first(capsys):
    table = Table('file', ['a.png', 'longer.png', 'b.png'])
    table.print([{'file': 'a.png', None: 'unreadable: empty'}])
    table.print([{'file': 'longer.png', 'class': 'cat', 'probability': 0.98765}])
    table.print([{'file': 'b.png', 'class': 'horse', 'probability': 1.0}])
    assert capsys.readouterr().out.splitlines() == [
        'a.png       unreadable: empty',
        'file        class  probability',
        'longer.png  cat    0.9877',
        'b.png       horse  1.0000',
    ]


def test_control_characters_are_written_as_escapes():
    assert printable('día 猫.png') == 'día 猫.png'
    assert printable('a\nb\t\x1b[31m\udcff') == r'a\nb\t\x1b[31m\udcff'
