"""`python -m bench_runner` is `tokenmark`."""

from .cli import main

if __name__ == "__main__":
    main()
