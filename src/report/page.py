"""How every page is filled in."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from src.markdown import escape


def fill(
    package: str, filters: tuple[Callable[..., Any], ...], template: str = "template.html.j2", **values: object
) -> str:
    """A template of `package` with `values`; it may call the functions `filters` by their names.

    What it prints is escaped, for HTML or, in a template `*.md.j2`, for Markdown, except where it says `safe`.
    """
    is_markdown = template.endswith(".md.j2")
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=not is_markdown,  # a class or a run may be called <b>
        finalize=_markdown if is_markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template(template).render(values)


def _markdown(value: object) -> object:
    return value if isinstance(value, Markup) else escape(str(value))
