"""How every HTML page is filled in."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def fill(package: str, filters: tuple[Callable[..., Any], ...], **values: object) -> str:
    """The file `template.html.j2` of `package` with `values`; it may call the functions `filters` by their names."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,  # a class or a run may be called <b>
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template("template.html.j2").render(values)
