"""The station: the line behind a queue, REST, pages, jobs and who may do what."""
