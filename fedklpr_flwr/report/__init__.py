"""From run.jsonl to tables, plots and pages."""
