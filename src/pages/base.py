"""Fill a template of this folder. Every page and the model card use it."""

from collections.abc import Callable
from inspect import getmembers, isfunction
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from src import wording
from src.markdown import escape


def fill(template: str, *functions: Callable[..., Any], **values: object) -> str:
    """Fill `template` with `values`. It can use `functions` and those of src.wording as filters, by their names.

    Printed values are escaped for HTML, or for Markdown in a template `*.md.j2`, unless the template marks them `safe`.
    """
    is_markdown = template.endswith(".md.j2")
    environment = Environment(
        loader=PackageLoader("src.pages", ""),
        autoescape=not is_markdown,  # the name of a class or a run may be <b>
        finalize=_markdown if is_markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(getmembers(wording, isfunction))
    environment.filters |= {function.__name__: function for function in functions}
    return environment.get_template(template).render(values)


def _markdown(value: object) -> object:
    return value if isinstance(value, Markup) else escape(str(value))
