"""Pages: one module a page. Each builds one context, that its HTML and its JSON twin show."""
