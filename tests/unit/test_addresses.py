"""Whatever the password in an address, no output shows it or a part of it."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src.addresses import hidden, redacted, server_problem, user_problem
from src.errors import UserError, sentence
from src.params import Params, load_params, problems
from src.record import data_name, flat_params, run_key
from src.tracking.store import first_line
from src.tracking.transfer import copy_runs
from src.tracking_uri import tracking_uri
from src.yaml_files import SHOWN, flatten, read_yaml, shown
from tests.conftest import PARAMS_YAML

BEGIN, END = "Zq7x", "x7qZ"  # of a password: neither is part of any other text
USERS = st.sampled_from(["", "user", "me@corp.example", "a.b%40c"])
MIDDLES = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.text("@:/?#\\%[]'\" ", max_size=8)
PLACES = st.sampled_from(["host", "host:5000", "127.0.0.1:5000/", "[::1]:5000", "host/path/pets.zip?a=b"])


def assert_hidden(text: str) -> None:
    assert BEGIN not in text, text
    assert END not in text, text


@given(USERS, MIDDLES, PLACES)
def test_an_encoded_password_is_hidden_in_any_text(user: str, middle: str, place: str) -> None:
    address = f"http://{user}:{BEGIN}{quote(middle, safe='')}{END}@{place}"
    for text in (address, f"API request to {address}/api/2.0 failed", f"<{address}> '{address}', {address}\nand more"):
        assert_hidden(redacted(text))
        assert_hidden(str(sentence(UserError(text))))
        assert_hidden(shown({"data": [text]}))
        for length in range(0, 400, 50):  # a cut may fall within the password
            assert_hidden(first_line(ValueError("x" * length + text)))
            assert_hidden(shown("x" * (length % SHOWN) + text))
    assert place in redacted(f"at {address}!")


@given(USERS, st.text(st.characters(exclude_categories=("Cs", "Z", "C")), max_size=20), PLACES)
def test_a_password_that_should_have_been_encoded_is_hidden_in_any_text(user: str, middle: str, place: str) -> None:
    assert_hidden(redacted(f"at http://{user}:{BEGIN}{middle}{END}@{place}"))


@example("", "@:", "host", "postgresql://")
@given(USERS, MIDDLES, PLACES, st.sampled_from(["http://", "ftp://", "postgresql://", "http:/", ""]))
def test_no_refusal_of_an_address_shows_its_password(user: str, middle: str, place: str, scheme: str) -> None:
    """In whatever form it is written; an address that is taken has its password where every program sees it."""
    address = f"{scheme}{user}:{BEGIN}{middle}{END}@{place}"
    assert_hidden(hidden(address))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address.replace("\0", ""))
        try:
            assert_hidden(redacted(tracking_uri()))
        except UserError as error:
            assert_hidden(str(error))
    if server_problem(address):
        with pytest.raises(UserError) as refused:
            copy_runs(address, lambda line: None)
        assert_hidden(str(refused.value))
    else:
        assert_hidden(redacted(address))


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1",
        "see http://host:5000/a, and mail a@b.example",
        "sqlite:////home/me@work/mlflow.db",
        "https://host/~me@home/pets.zip",
        "models:/normlens@champion",
        "git@github.com:owner/name",
        "12:30 @ home",
    ],
)
def test_texts_without_a_password_stay(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("password", ["a/b", "12/34", "a#b", "a?b", "a\\b", "1\\2", "a b", "a[b"])
def test_a_password_that_programs_read_differently_is_refused_and_its_encoded_form_taken(password: str) -> None:
    assert user_problem(f"http://user:{password}@host/x")
    assert not user_problem(f"http://user:{quote(password, safe='')}@host/x")
    content = read_yaml(PARAMS_YAML)
    for key, value in {
        "url": f"http://u:{password}@h/x.zip",
        "mirrors": ["http://h/", f"https://u:{password}@h/x"],
    }.items():
        changed = content | {"data": content["data"] | {"source": "folder", key: value}}
        (problem,) = problems(changed)
        assert problem[0] in (f"data.{key}", "data.url")
        assert password not in problem[1]


def test_parameters_are_logged_without_passwords_and_name_the_same_run() -> None:
    params = load_params(PARAMS_YAML)

    def at(user: str) -> Params:
        data = params.data.model_copy(
            update={"source": "folder", "url": f"https://{user}host/pets.zip", "mirrors": [f"http://{user}mirror/"]}
        )
        return params.model_copy(update={"data": data})

    plain, first, second = (at(user) for user in ("", f"user:{BEGIN}{END}@", f"user:{END}{BEGIN}@"))
    for changed in (first, second):
        assert_hidden(str(flat_params(changed)))
        assert_hidden(data_name(changed, "folder"))
    assert flat_params(first)["data.url"] == "https://***@host/pets.zip"
    keys = [run_key(p, "k") for p in (plain, first, second)]
    assert keys[1] == keys[2] != keys[0]
    assert flat_params(params).keys() == flatten(read_yaml(PARAMS_YAML)).keys()
