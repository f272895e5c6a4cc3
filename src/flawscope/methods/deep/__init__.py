"""What needs torch. Nothing on the inspection path imports it; methods import it inside their fit."""
