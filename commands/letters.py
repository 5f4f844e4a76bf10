"""flask letters: the letters with IDs and temporary passwords, ready to print."""

from __future__ import annotations

import io
from pathlib import Path

import click
from flask import current_app
from flask.cli import AppGroup

from commands.terminal import FILE, NEW_FILE, Failed
from imports.letters import CannotWrite, NewFile
from imports.printing import pages, read_letters, text_of
from roster.findings import Findings
from roster.reading import Unreadable

letters = AppGroup("letters", help="The letters with IDs and temporary passwords.")


@letters.command("print")
@click.argument("credentials", type=FILE)
@click.option(
    "--out",
    type=NEW_FILE,
    required=True,
    help="Write the letters into this PDF, which must not exist.",
)
@click.option("--text", type=FILE, help="The insurer's own words, in a file of plain text.")
def print_(credentials: Path, out: Path, text: Path | None) -> None:
    """Write the letters of a CREDENTIALS file as a PDF, one A4 page a person."""
    if not current_app.config["BASE_URL"]:
        raise Failed(
            "KAKUNIN_BASE_URL がありません。お手紙のQRコードはこの住所を開きます。設定してからもう一度実行してください。"
        )
    pdf, findings = NewFile(out), Findings()
    try:
        pdf.refuse_existing()
        people = read_letters(credentials, current_app.config["INSURERS"], findings)
        own = text_of(text) if text else ""
        for message in findings.messages:
            click.echo(message)
        if findings.errors:
            raise Failed(f"お手紙を作っていません（エラー{findings.errors}件）。")
        _write(people, own, pdf)
    except (CannotWrite, Unreadable) as refused:
        raise Failed(str(refused)) from refused
    except OSError as broken:
        raise Failed(
            f"お手紙を作れません（{broken}）。ファイルの権限や空き容量を確かめてください。"
        ) from broken
    click.echo(
        f"{out} に{len(people)}人分のお手紙を書きました。印刷したら、{credentials} と一緒に消してください。"
    )


def _write(people: list[dict[str, object]], text: str, pdf: NewFile) -> None:
    import pypdf

    config = current_app.config
    parts = pages(people, config["INSURERS"], f"{config['BASE_URL'].rstrip('/')}/login", text)
    whole = pypdf.PdfWriter()
    for part in parts:
        whole.append(io.BytesIO(part), import_outline=False)
    assert len(whole.pages) == len(people)
    try:
        pdf.fill(whole.write)
    except BaseException:
        pdf.discard()
        raise
    pdf.publish()
