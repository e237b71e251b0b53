"""`python -m bench_runner` is `tokenmark`."""

from .cli import entry

if __name__ == "__main__":
    entry()
