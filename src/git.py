"""Questions to git."""

import subprocess


def output(*arguments: str) -> str:
    """What `git ARGUMENTS` prints, '' where it fails, where there is no repository, and where git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
