#!/usr/bin/env python3
"""Writes what is in tests/fixtures as seeds: seeds.py request|response|config FOLDER.

The format is that of tests/src/corpus.rs; of templates and repetitions only the raw text is taken.
"""
import pathlib
import re
import sys

SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def text(line):
    """The bytes of a line of bytes."""
    line, end = (line[:-1], b"") if line.endswith("\\") else (line, b"\r\n")
    out = b""
    for part in re.split(r"(\\x..|\\.)", line):
        if part.startswith("\\x"):
            out += bytes([int(part[2:], 16)])
        elif part.startswith("\\"):
            out += SIMPLE.get(part[1:], b"")
        else:
            out += part.encode()
    return out + end


def messages(paragraphs):
    """What is sent, paragraph by paragraph."""
    template = ""
    for lines in paragraphs:
        sent = [re.sub(r"^\| ?", "", line) for line in lines if line.startswith("|")]
        if lines[0] == "template:":
            template = sent
        elif sent:
            yield b"".join(map(text, sent))
        else:
            for row in lines:
                last = row.split("|", 3)[-1].removeprefix(" ")
                yield b"".join(text(line.replace("{}", last)) for line in template)


def main():
    """Writes one file for each."""
    kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if kind == "config":
        tests = pathlib.Path(__file__).parent.parent
        for file in [*(tests / "fixtures/config").glob("*.toml"), *(tests.parent / "examples").glob("*.toml")]:
            (folder / file.stem).write_bytes(file.read_bytes()[:8000])
        return
    source = pathlib.Path(__file__).parent.parent / "fixtures" / {"request": "requests", "response": "answers"}[kind]
    prefix = b"\x10\0" if kind == "request" else b"\0\0\x10"
    for file in sorted(source.glob("*.txt")):
        lines = [line for line in file.read_text().split("\n") if not line.startswith("#")]
        paragraphs = [p.split("\n") for p in re.split(r"\n{2,}", "\n".join(lines).strip("\n"))]
        for number, message in enumerate(messages(paragraphs)):
            (folder / f"{file.stem}-{number}").write_bytes(prefix + message[:4000])


main()
