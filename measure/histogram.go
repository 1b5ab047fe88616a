package measure

// Histogram is a high dynamic range histogram of signed nanoseconds.
type Histogram struct{ n int64 }
