package measure

// linkRules are about what a node could not tell: its agent, or its samples.
func (t Thresholds) linkRules() []Rule {
	return []Rule{
		{"agent_lost", Invalid, "if any node's agent is lost during the cell", func(e *Evidence) (string, bool) {
			return list("agent lost", e.LostAgents)
		}},
		{"events_lost", Degraded, "if more than 0 samples of a node are lost", func(e *Evidence) (string, bool) {
			return list("samples lost of", e.LostEvents)
		}},
	}
}
