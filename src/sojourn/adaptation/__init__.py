"""What is done with a finished run: states for others to use, fine-tuning on a task, fitting a new hospital."""
