"""The book's widgets: one anywidget a file, X.py beside X.js, that need no kernel once they are drawn."""
