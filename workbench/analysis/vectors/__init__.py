"""Reading soft prompts and weight changes as arrays: numpy in, figures beside chance out."""
