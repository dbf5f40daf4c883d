#include "page.h"

#include <array>

#include "text.h"

namespace cli {
namespace {

// Distinct for most people with red-green colour blindness too (after Okabe and Ito).
constexpr std::array<const char*, 8> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#7a5195", "#56b4e9", "#8c6d1f", "#444444"};

constexpr const char* kStyle = R"css(
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1c2430;
  background: #f6f7f9; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 48px; }
h1 { font-size: 26px; margin: 0; } h1 + p { margin-top: 2px; } h2 { font-size: 18px; margin: 32px 0 12px; }
p { margin: 8px 0; } .quiet { color: #5b6675; }
table { border-collapse: collapse; width: 100%; background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; }
th, td { padding: 8px 12px; text-align: right; border-bottom: 1px solid #eceff2; font-variant-numeric: tabular-nums; }
tr:last-child td { border-bottom: 0; } th { font-weight: 600; color: #5b6675; font-size: 13px; }
th:first-child, td:first-child { text-align: left; } td.best { font-weight: 700; }
.chip { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 8px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 20px; }
figure, .card { margin: 0; background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 14px 16px 12px; }
figcaption, .card h3 { font-weight: 600; font-size: 15px; margin: 0 0 6px; }
figure svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: #5b6675; } svg text.name { font-size: 13px; fill: #1c2430; }
.grid { stroke: #e6e9ed; } .axis { stroke: #98a2ae; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; margin-top: 6px; }
.legend svg { display: inline-block; width: 28px; margin-right: 6px; vertical-align: middle; }
.ops { display: grid; grid-template-columns: max-content 1fr repeat(3, max-content); gap: 3px 12px; align-items: center; font-size: 13px; }
.ops .bar { height: 12px; border-radius: 2px; } .ops .value { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: #eceff2; border-radius: 4px; padding: 2px 6px;
  overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; font-size: 14px; }
dt { color: #5b6675; } dd { margin: 0; font-variant-numeric: tabular-nums; }
)css";

}  // namespace

std::string colour(std::size_t i) { return kColours[i % kColours.size()]; }

std::string page(const std::string& title, const std::string& body) {
    return "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
           "content='width=device-width, initial-scale=1'><title>" +
           escape_html(title) + "</title><style>" + kStyle + "</style></head><body><main>\n<h1>" + escape_html(title) +
           "</h1>\n" + body + "</main></body></html>\n";
}

}  // namespace cli
