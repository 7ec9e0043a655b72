"""Foundation models of clinical event streams that hold up at the next hospital."""
