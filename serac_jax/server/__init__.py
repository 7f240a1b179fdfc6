"""`serac serve`: HTTP in front of an editor, or in front of a model that is already deployed.

Read in this order: `context` (what all requests share), `engine` (from a question to a reply),
`openai_routes` and `edit_routes` (what each request does), `app` (how they are put together).
"""
