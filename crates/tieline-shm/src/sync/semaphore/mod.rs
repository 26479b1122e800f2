mod tokens;
mod words;
