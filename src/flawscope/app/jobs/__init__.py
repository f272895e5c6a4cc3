"""Jobs: teaching and auditing in processes of their own, which outlive the server that started them."""
