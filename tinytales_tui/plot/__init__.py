"""Drawing curves with characters: braille dots, or plain ASCII. Only makes text and names of styles; knows no Textual and no files."""
