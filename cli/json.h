// One JSON object on one line.
#pragma once

#include <cmath>
#include <concepts>
#include <string>
#include <vector>

#include "text.h"

namespace cli {

class JsonObject {
  public:
    JsonObject& add(const char* name, const std::string& value) { return raw(name, quote_json(value)); }
    JsonObject& add(const char* name, const char* value) { return raw(name, quote_json(value)); }
    JsonObject& add(const char* name, bool value) { return raw(name, value ? "true" : "false"); }
    template <std::integral T>
    JsonObject& add(const char* name, T value) {
        return raw(name, std::to_string(value));
    }
    /// null where the number is not finite: JSON has no such numbers.
    JsonObject& add(const char* name, double value) {
        return raw(name, std::isfinite(value) ? shortest(value) : "null");
    }
    JsonObject& add(const char* name, const std::vector<std::string>& values) {
        std::string array = "[";
        for (const std::string& value : values) (array += array.size() > 1 ? ", " : "") += quote_json(value);
        return raw(name, array += "]");
    }
    JsonObject& add(const char* name, const JsonObject& value) { return raw(name, value.text()); }
    /// A value that is JSON already.
    JsonObject& raw(const char* name, const std::string& value) {
        (fields_ += fields_.empty() ? "" : ", ") += quote_json(name);
        (fields_ += ": ") += value;
        return *this;
    }
    std::string text() const { return '{' + fields_ + '}'; }

  private:
    std::string fields_;
};

}  // namespace cli
