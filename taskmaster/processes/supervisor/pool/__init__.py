"""The supervisor's workers: started, watched, stopped and replaced. One generation per configuration."""
