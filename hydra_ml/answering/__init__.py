"""From a query and what a user wrote to an answer: rankings, arms, prompts, candidates, the choice among them."""
