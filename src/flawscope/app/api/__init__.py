"""The REST service under `/api`: one router a subject, one envelope for all."""
