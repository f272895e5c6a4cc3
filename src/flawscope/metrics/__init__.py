"""Numbers about verdicts, scores and maps, each with an interval and how many it rests on."""
