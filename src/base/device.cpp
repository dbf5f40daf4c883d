#include "tenon/device.h"

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {

std::string to_string(Device device) {
    return device.kind == Device::Kind::cpu ? "cpu" : text("cuda:", int{device.index});
}

Device device_of(const std::string& name) {
    if (name == "cpu") return Device::cpu();
    if (name == "cuda") return Device::cuda();
    if (name.starts_with("cuda:") && name.size() > 5 && name.size() <= 7 &&
        name.find_first_not_of("0123456789", 5) == std::string::npos)
        return Device::cuda(std::stoi(name.substr(5)));
    throw ValueError(text("device_of: '", name, "' is not cpu, cuda or cuda:0 to cuda:99"));
}

}  // namespace tenon
