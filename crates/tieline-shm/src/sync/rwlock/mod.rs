#[cfg(all(test, model))]
mod model;
mod words;
