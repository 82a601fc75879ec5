"""The budget of style finds each thing it is there for, and the package keeps to it."""

import textwrap

import pytest

from style import budget


@pytest.fixture
def found(tmp_path):
    """Return the lines found in a package of files given as `name=source`."""

    def find(**files: str) -> list[str]:
        for name, source in files.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source), encoding="utf-8")
        return [str(finding) for finding in budget.findings(tmp_path)]

    return find


def numbered(line: str, number: int) -> str:
    return "".join(f"{line.format(i)}\n" for i in range(number))


def test_the_package_keeps_to_the_budget():
    assert [str(finding) for finding in budget.findings(budget.PACKAGE)] == []


def test_a_module_longer_than_one_sitting(found):
    text = '"""Sits."""\n' + numbered("a{} = 0", 499)

    assert found(fits=text, long=text + "b = 0\n") == [
        "long.py:1: module of 501 lines; at most 500"
    ]


def test_a_function_longer_than_a_screen(found):
    text = '"""Screens."""\n\n' + "{}def _{}():\n" + numbered("    a{} = 0", 59)

    assert found(
        fits=text.replace("{}", "", 1).replace("{}", "fits"),
        long=text.replace("{}", "async ", 1).replace("{}", "long") + "    b = 0\n",
    ) == ["long.py:3: '_long' has 61 lines; at most 60"]


def test_a_command_may_have_any_number_of_options_but_no_more_lines(found):
    text = '"""Commands."""\n\ndef _f(\n' + numbered("    a{}: int,", 9) + "):\n"
    body = numbered("    b{} = 0", 49)

    assert found(commands__in__fits=text + body) == []
    assert found(commands__in__long=text + body + "    c = 0\n") == [
        "commands/long.py:3: '_f' has 61 lines; at most 60"
    ]


def test_more_arguments_than_anybody_keeps_in_mind(found):
    text = '"""Signatures."""\n\nclass _A:\n    def f(self, a, b, c, /, d, *, e, f, g, h{}): ...\n'

    assert found(fits=text.replace("{}", ""), wide=text.replace("{}", ", i")) == [
        "wide.py:4: 'f' takes 9 arguments; at most 8"
    ]


@pytest.mark.parametrize(
    ("line", "most", "what"),
    [
        ("assert {}", budget.ASSERTS, "assert"),
        *(
            (f"try: ...\nexcept{kinds}: a{{}} = 0", budget.BROAD_EXCEPTS, "broad except")
            for kinds in ("", " Exception", " (OSError, BaseException)")
        ),
    ],
)
def test_too_many_in_the_package_are_all_named(found, line, most, what):
    first = '"""First."""\n' + numbered(line, most)
    assert found(first=first) == []

    named = found(second='"""Second."""\n' + numbered(line, 1))

    assert len(named) == most + 1
    assert named[-1].startswith("second.py:")
    assert named[-1].endswith(f": {what}; the package has {most + 1}, at most {most}")


def test_an_except_that_says_what_it_expects_is_not_broad(found):
    line = "try: ...\nexcept (OSError, ValueError): a{} = 0"

    assert found(narrow='"""Narrow."""\n' + numbered(line, 9)) == []


def test_everything_public_says_what_it_is(found):
    source = """
        from typing import Protocol, overload

        class A:
            def method(self):
                def nested(): ...
            def _private(self): ...
            def __len__(self): ...

        class B(Protocol):
            '''Has a docstring.'''
            def stub(self): ...

        class _Private:
            def method(self): ...

        @overload
        def f(a: int): ...

        if True:
            async def g(): ...
        """

    assert found(public=source, _private=source) == [
        "public.py:1: module without a docstring",
        "public.py:4: 'A' has no docstring",
        "public.py:5: 'A.method' has no docstring",
        "public.py:12: 'B.stub' has no docstring",
        "public.py:18: 'f' has no docstring",
        "public.py:21: 'g' has no docstring",
    ]
