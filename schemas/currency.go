package schemas

// IsCurrency tells whether code has the form of an ISO 4217 code: three capital
// letters. It knows no list of currencies.
func IsCurrency(code string) bool {
	if len(code) != 3 {
		return false
	}
	for i := range len(code) {
		if code[i] < 'A' || code[i] > 'Z' {
			return false
		}
	}
	return true
}
