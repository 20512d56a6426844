"""Files that other systems read: CI, GitHub, shields.io, spreadsheets."""
