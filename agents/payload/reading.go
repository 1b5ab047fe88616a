package payload

// Sensor is one measuring point of every device: a series of values that follows
// from the seed, the device and the message's number or time.
type Sensor struct {
	// Path is the sensor's name, after those of the groups that it is nested in.
	Path []string `json:"path"`
	// Kind is gaussian, walk, sine, choice, counter or bool.
	Kind string `json:"kind"`
	Unit string `json:"unit,omitempty"` // empty for a bare value
	// Mean and StdDev are gaussian's and sine's; a device's own mean lies up to
	// Spread from it.
	Mean   float64 `json:"mean,omitempty"`
	StdDev float64 `json:"stddev,omitempty"`
	Spread float64 `json:"spread,omitempty"`
	// Amplitude and Period (in seconds) are sine's.
	Amplitude float64 `json:"amplitude,omitempty"`
	Period    float64 `json:"period_s,omitempty"`
	// Min, Max and Step bound a walk; a counter goes from Min by Step.
	Min  float64 `json:"min,omitempty"`
	Max  float64 `json:"max,omitempty"`
	Step float64 `json:"step,omitempty"`
	// Decimals are the places behind the point.
	Decimals int `json:"decimals,omitempty"`
	// Choices are what choice takes from; Probability is how often bool is true.
	Choices     []string `json:"choices,omitempty"`
	Probability float64  `json:"probability,omitempty"`
}
