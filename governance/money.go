package governance

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Money is an amount in minor units of an ISO 4217 currency. In JSON it is
// {"amount":"1200.00","currency":"EUR"}, never a floating-point number.
type Money struct {
	Minor    int64
	Currency string
}

// exponent is the number of decimals of a currency, from ISO 4217; the ones that
// do not have two.
func exponent(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	}
	return 2
}

// Exponent is the number of decimals of an ISO 4217 currency: 2 for EUR, 0 for JPY.
func Exponent(currency string) int { return exponent(currency) }

// ValidCurrency tells whether s has the shape of an ISO 4217 code.
func ValidCurrency(s string) bool {
	if len(s) != 3 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// ParseMoney reads a decimal amount such as "12.00". More decimals than the
// currency has, signs other than a leading minus, exponents, separators and
// overflow are errors.
func ParseMoney(amount, currency string) (Money, error) {
	if !ValidCurrency(currency) {
		return Money{}, Invalid("currency", "%q is not an ISO 4217 code", currency)
	}
	digits, negative := strings.CutPrefix(amount, "-")
	whole, fraction, dot := strings.Cut(digits, ".")
	e := exponent(currency)
	if whole == "" || (dot && fraction == "") || len(fraction) > e || !allDigits(whole) || !allDigits(fraction) {
		return Money{}, Invalid("amount", "%q is not a decimal amount with at most %d decimals", amount, e)
	}
	minor, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", e-len(fraction)), 10, 64)
	if err != nil {
		return Money{}, Invalid("amount", "%q is too large", amount)
	}
	if negative {
		minor = -minor
	}
	return Money{minor, currency}, nil
}

func allDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Amount is the decimal form without the currency: "-3.50".
func (m Money) Amount() string {
	e := exponent(m.Currency)
	sign, u := "", uint64(m.Minor)
	if m.Minor < 0 {
		sign, u = "-", -uint64(m.Minor)
	}
	s := strconv.FormatUint(u, 10)
	if e == 0 {
		return sign + s
	}
	if len(s) <= e {
		s = strings.Repeat("0", e-len(s)+1) + s
	}
	return sign + s[:len(s)-e] + "." + s[len(s)-e:]
}

// String is "EUR 12.00".
func (m Money) String() string { return m.Currency + " " + m.Amount() }

// Unit is the unit of measure of this currency's minor units: "EUR.cent".
func (m Money) Unit() string { return m.Currency + moneySuffix }

const moneySuffix = ".cent"

// unitCurrency gives the currency of a money unit.
func unitCurrency(unit string) (string, bool) {
	c, ok := strings.CutSuffix(unit, moneySuffix)
	return c, ok && ValidCurrency(c)
}

type moneyJSON struct {
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
}

// MarshalJSON implements json.Marshaler.
func (m Money) MarshalJSON() ([]byte, error) {
	return json.Marshal(moneyJSON{m.Amount(), m.Currency})
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Money) UnmarshalJSON(b []byte) error {
	var j moneyJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Invalid("money", "want {\"amount\":\"12.00\",\"currency\":\"EUR\"}")
	}
	got, err := ParseMoney(j.Amount, j.Currency)
	if err != nil {
		return err
	}
	*m = got
	return nil
}

// Rate converts money: one unit of From is Micro/1e6 units of To, at Date, by Source.
type Rate struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Micro  int64  `json:"micro,string"`
	Date   string `json:"date"` // YYYY-MM-DD
	Source string `json:"source"`
}

// ConvertUp converts m at r and rounds away from zero, so that a sum over many
// conversions never falls short of the true one.
func (r Rate) ConvertUp(m Money) (Money, error) {
	if m.Currency != r.From {
		return Money{}, fmt.Errorf("rate %s→%s does not convert %s", r.From, r.To, m.Currency)
	}
	if r.Micro <= 0 {
		return Money{}, fmt.Errorf("rate %s→%s of %s is not positive", r.From, r.To, r.Date)
	}
	num, den := int64(1), int64(1_000_000)
	for d := exponent(r.To) - exponent(r.From); d > 0; d-- {
		num *= 10
	}
	for d := exponent(r.From) - exponent(r.To); d > 0; d-- {
		den *= 10
	}
	hi, ok := mulInt64(m.Minor, r.Micro)
	if !ok {
		return Money{}, fmt.Errorf("convert %s: overflow", m)
	}
	if hi, ok = mulInt64(hi, num); !ok {
		return Money{}, fmt.Errorf("convert %s: overflow", m)
	}
	q := hi / den
	switch rest := hi % den; {
	case rest > 0:
		q++
	case rest < 0:
		q--
	}
	return Money{q, r.To}, nil
}

func mulInt64(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	p := a * b
	if p/b != a || (a == math.MinInt64 && b == -1) || (b == math.MinInt64 && a == -1) {
		return 0, false
	}
	return p, true
}
