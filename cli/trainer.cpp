#include "trainer.h"

#include <tenon/error.h>
#include <tenon/transform.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "memory.h"
#include "text.h"

namespace cli {
namespace {

using tenon::Tensor;
using tenon::Tree;

constexpr std::int64_t kTestBatch = 1000;
constexpr std::int64_t kClasses = 10;  // load_image_dataset lets no other label pass
constexpr const char* kFormat = "1";
constexpr std::size_t kReadTogether = 16;  // losses, on a GPU

/// FNV-1a over 64-bit words; the last bytes are padded with zeros.
std::uint64_t hash(std::span<const std::uint8_t> bytes, std::uint64_t h) {
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + i, std::min<std::size_t>(8, bytes.size() - i));
        h = (h ^ word) * 0x100000001b3u;
    }
    return h;
}

std::string fingerprint(const tenon::ImageDataset& sets) {
    std::uint64_t h = 0xcbf29ce484222325u;
    std::string sizes;
    for (const Tensor& t : {sets.train.images, sets.train.labels, sets.test.images, sets.test.labels}) {
        h = hash(t.data<std::uint8_t>(), h);
        for (const std::int64_t extent : t.shape()) h = (h ^ static_cast<std::uint64_t>(extent)) * 0x100000001b3u;
    }
    return std::to_string(h);
}

/// Exact sums: even the squares of as many pixels as memory can hold add up to less than 2^64.
void measure(const Tensor& images, float& mean, float& deviation) {
    std::uint64_t sum = 0, squares = 0;
    const auto pixels = images.data<std::uint8_t>();
    for (const std::uint64_t p : pixels) sum += p, squares += p * p;
    const auto n = static_cast<double>(pixels.size());
    const double m = static_cast<double>(sum) / n, variance = static_cast<double>(squares) / n - m * m;
    mean = static_cast<float>(m / 255);
    // If all pixels are equal the images are only shifted.
    deviation = variance > 0 ? static_cast<float>(std::sqrt(variance) / 255) : 1.0f;
}

tenon::BatchOptions batch_options(const Data& data, std::int64_t size, bool shuffle) {
    tenon::BatchOptions options;
    options.batch_size = size;
    options.shuffle = shuffle;
    options.mean = data.mean;
    options.standard_deviation = data.deviation;
    return options;
}

enum Stream { kInitialization, kOrder, kDropout, kStreams };

tenon::random::Key key_of(const RunOptions& options, Stream stream) {
    return tenon::random::Key(static_cast<std::uint64_t>(options.seed))
        .split(kStreams)[static_cast<std::size_t>(stream)];
}

tenon::nn::Mlp network(const RunOptions& o, const Data& data) {
    const tenon::Shape& images = data.sets.train.images.shape();
    tenon::nn::MlpOptions options;
    options.in = images[1] * images[2];
    options.width = o.width;
    options.depth = o.depth;
    options.classes = kClasses;
    options.structure = o.structure;
    options.rank = o.rank;
    options.blocks = o.blocks;
    options.dropout = o.dropout;
    try {
        check_memory(options, std::min(o.batch, images[0]), tenon::device_of(o.device));
        return tenon::nn::Mlp::random(key_of(o, kInitialization), options);
    } catch (const tenon::MemoryError&) {
        throw;
    } catch (const tenon::Error& error) {
        throw tenon::ValueError("--structure " + o.structure + " --width " + std::to_string(o.width) + ": " +
                                error.what());
    }
}

tenon::optim::AdamW adamw(const RunOptions& o, std::int64_t steps, const tenon::nn::Mlp& model) {
    tenon::optim::AdamWOptions options;
    const auto warmup = static_cast<std::int64_t>(o.warmup * static_cast<double>(steps));
    options.learning_rate = tenon::optim::warmup_cosine(o.lr, warmup, steps);
    options.weight_decay = o.weight_decay;
    options.multipliers = model.learning_rates();
    return tenon::optim::AdamW(options);
}

std::int64_t size_of(const Tree& tree) {
    std::int64_t n = 0;
    for (const Tensor& leaf : tree.leaves()) n += leaf.size();
    return n;
}

template <class T>
Tensor scalar(T value) {
    return Tensor::from<T>({value}, {});
}

}  // namespace

Data load_data(const std::string& name) {
    const bool named = name == "fashion-mnist";
    const std::string directory = named ? tenon::fashion_mnist_directory() : name;
    std::error_code ignored;
    if (named && std::filesystem::status(directory, ignored).type() == std::filesystem::file_type::not_found)
        throw tenon::FileError("--data fashion-mnist: there is no " + directory +
                               " (Debian has it in the package dataset-fashion-mnist)");
    Data data;
    data.sets = tenon::load_image_dataset(directory);
    data.fingerprint = fingerprint(data.sets);
    measure(data.sets.train.images, data.mean, data.deviation);
    return data;
}

Trainer::Trainer(const RunOptions& options, const Data& data)
    : options_(options),
      device_(tenon::device_of(options.device)),
      precision_(options.precision == "bf16" ? tenon::DType::bfloat16 : tenon::DType::float32),
      fingerprint_(data.fingerprint),
      train_images_(data.sets.train.images.extent(0)),
      dropout_key_(key_of(options, kDropout)),
      model_(network(options, data)),
      train_(data.sets.train, key_of(options, kOrder).value(), batch_options(data, options.batch, true)),
      test_(data.sets.test, 0, batch_options(data, kTestBatch, false)) {
    params_ = tenon::parameters(model_);
    optimizer_ = adamw(options_, options_.epochs * train_.batches_per_epoch(), model_);
    state_ = optimizer_.init(params_);
}

std::int64_t Trainer::parameters() const { return size_of(params_); }

Tree Trainer::on_device(const Tree& tree) const {
    Tree moved = tree.map([&](const Tensor& t) { return on_device(t); });
    tenon::eval(moved);
    return moved;
}

void Trainer::initialize() {
    tenon::eval(params_);
    tenon::eval(state_);
    place();
}

void Trainer::place() {
    if (device_ == tenon::Device::cpu()) return;
    params_ = on_device(params_);
    for (const char* moments : {"m", "v"}) state_.set(moments, on_device(state_[moments]));
}

tenon::nn::Mlp Trainer::network_of(const Tree& params) const {
    if (precision_ == tenon::DType::float32) return tenon::with_parameters(model_, params);
    return tenon::with_parameters(model_, params.map([&](const Tensor& t) { return tenon::astype(t, precision_); }));
}

Tensor Trainer::logits_of(const tenon::nn::Mlp& model, const Tensor& images, const tenon::random::Key* dropout) const {
    const Tensor x = tenon::astype(images, precision_);
    return tenon::astype(dropout ? model(x, *dropout) : model(x), tenon::DType::float32);
}

Tree Trainer::recorded_step(const Tree& arguments) const {
    const auto argument = [&](std::size_t i) -> const Tree& { return arguments.children()[i].second; };
    const Tree &params = argument(0), &state = argument(1);
    const Tensor &images = argument(2).tensor(), &labels = argument(3).tensor();
    const tenon::random::Key key(argument(4).tensor());
    Tensor logits;
    const auto loss_of = [&](const Tree& p) {
        logits = logits_of(network_of(p), images, options_.dropout > 0 ? &key : nullptr);
        return tenon::cross_entropy(logits, labels);
    };
    auto [loss, grads] = tenon::value_and_grad_at(loss_of, params);
    if (options_.clip > 0) grads = tenon::optim::clip_by_global_norm(grads, options_.clip);
    const Tensor correct = tenon::count_nonzero(tenon::equal(tenon::argmax(logits, -1), labels));
    auto [next, after] = optimizer_.update(params, std::move(grads), state);
    return Tree::list(std::vector<Tree>{std::move(next), std::move(after), loss, correct});
}

bool Trainer::step() {
    const tenon::Batch batch = train_.next();
    std::vector<Tree> all;  // parameters and state that nobody else holds give their memory to the next ones
    for (Tree* given_up : {&params_, &state_}) all.push_back(std::exchange(*given_up, {}));
    all.push_back(on_device(batch.images));
    all.push_back(on_device(batch.labels));
    all.push_back(dropout_key_.fold_in(static_cast<std::uint64_t>(step_)).tensor());
    const auto record = [this](const Tree& t) { return recorded_step(t); };
    std::vector<Tree::Child> next = steps_.call(record, Tree::list(std::move(all))).children();
    params_ = std::move(next[0].second), state_ = std::move(next[1].second);

    pending_.push_back({step_, batch.labels.size(), next[2].second.tensor(), next[3].second.tensor()});
    seen_ += batch.labels.size();
    ++step_;
    const bool last = train_.position().index == 0;
    if (last || device_ == tenon::Device::cpu() || pending_.size() >= kReadTogether) settle();
    return last;
}

void Trainer::settle() {
    for (const Pending& p : pending_) {
        const auto value = p.loss.item<double>();
        if (!std::isfinite(value))
            throw Diverged("step " + std::to_string(p.step) + ": the loss is " + shortest(value) +
                           "; a lower --lr than " + shortest(options_.lr) + " may help");
        loss_sum_ += value * static_cast<double>(p.images);
        correct_ += p.correct.item<std::int64_t>();
        images_read_ += p.images;
    }
    pending_.clear();
}

double Trainer::mean_loss() const { return loss_sum_ / static_cast<double>(images_read_); }

std::int64_t Trainer::images_seen() const { return epoch() * train_images_ + seen_; }

void Trainer::test(Epoch& epoch) {
    const tenon::nn::Mlp model = network_of(params_);
    double loss_sum = 0;
    std::int64_t correct = 0, images = 0;
    for (std::int64_t i = 0; i < test_.batches_per_epoch(); ++i) {
        const tenon::Batch batch = test_.next();
        const Tensor labels = on_device(batch.labels), logits = logits_of(model, on_device(batch.images), nullptr);
        const Tensor loss = tenon::cross_entropy(logits, labels);
        const Tensor hits = tenon::count_nonzero(tenon::equal(tenon::argmax(logits, -1), labels));
        tenon::eval({loss, hits});
        loss_sum += loss.item<double>() * static_cast<double>(batch.labels.size());
        correct += hits.item<std::int64_t>();
        images += batch.labels.size();
    }
    epoch.test_loss = loss_sum / static_cast<double>(images);
    epoch.test_accuracy = static_cast<double>(correct) / static_cast<double>(images);
}

void Trainer::end_epoch() {
    Epoch epoch;
    epoch.train_loss = mean_loss();
    epoch.train_accuracy = static_cast<double>(correct_) / static_cast<double>(seen_);
    test(epoch);
    epochs_.push_back(epoch);
    loss_sum_ = 0, correct_ = 0, seen_ = 0, images_read_ = 0;
}

// --- the checkpoint ---
// metadata: "format", "data" and every option that shapes the run. Tensors: "parameters", "optimizer", and "run":
// "step", "key" (of dropout), "loss_sum", "correct" and "seen" of the epoch so far, "history" (epochs, 4). The epoch is
// the number of rows of the history; the place in it follows from the step.

void Trainer::save(const std::string& path) const {
    std::vector<double> history;
    for (const Epoch& e : epochs_)
        history.insert(history.end(), {e.train_loss, e.train_accuracy, e.test_loss, e.test_accuracy});
    tenon::Checkpoint checkpoint;
    checkpoint.metadata = options_.as_text();
    checkpoint.metadata["format"] = kFormat;
    checkpoint.metadata["data"] = fingerprint_;
    Tree run;
    run.set("step", scalar(step_));
    run.set("key", dropout_key_.tensor());
    run.set("loss_sum", scalar(loss_sum_));
    run.set("correct", scalar(correct_));
    run.set("seen", scalar(seen_));
    run.set("history", Tensor::from(history, {epoch(), 4}));
    checkpoint.tensors.set("parameters", params_);
    checkpoint.tensors.set("optimizer", state_);
    checkpoint.tensors.set("run", run);
    tenon::save(path, checkpoint);
}

namespace {

/// The first difference between the options in a checkpoint and those of this run.
void check_same_run(const std::string& path, const std::map<std::string, std::string>& saved, const RunOptions& options,
                    const std::string& fingerprint) {
    const auto at = [&](const std::string& name) -> const std::string* {
        const auto found = saved.find(name);
        return found == saved.end() ? nullptr : &found->second;
    };
    const std::string *format = at("format"), *data = at("data");
    if (!format || !data || *format != kFormat)
        throw tenon::FileError(path + ": not a checkpoint of this version's tenon train");
    for (const auto& [name, value] : options.as_text()) {
        const std::string* theirs = at(name);
        if (!theirs || *theirs != value)
            throw tenon::ValueError("--resume: " + path + " is of a run " +
                                    (theirs ? "with --" + name + " " + *theirs : "without --" + name) + ", not --" +
                                    name + " " + value);
    }
    const auto own = options.as_text();
    for (const char* name : {"rank", "blocks", "device", "precision"})
        if (at(name) && !own.count(name))
            throw tenon::ValueError("--resume: " + path + " is of a run with --" + name + " " + *at(name));
    if (*data != fingerprint) throw tenon::ValueError("--resume: " + path + " is of a run on other --data");
}

}  // namespace

void Trainer::resume(const std::string& path) {
    const tenon::Checkpoint checkpoint = tenon::load(path);
    check_same_run(path, checkpoint.metadata, options_, fingerprint_);
    try {
        const Tree &saved = checkpoint.tensors, &run = saved["run"];
        Tree params = tenon::restore(params_, saved["parameters"]), state = tenon::restore(state_, saved["optimizer"]);
        const auto step = run["step"].tensor().item<std::int64_t>();
        const auto rows = run["history"].tensor().shape();
        const std::int64_t per_epoch = train_.batches_per_epoch();
        if (rows.rank() != 2 || rows[1] != 4 || step < 0 || step / per_epoch != rows[0] || rows[0] > options_.epochs ||
            (rows[0] == options_.epochs && step % per_epoch != 0))
            throw tenon::ValueError("step " + std::to_string(step) + " and the history disagree");
        if (run["key"].tensor().item<std::uint64_t>() != dropout_key_.value())
            throw tenon::ValueError("the random key is not that of the seed");
        const auto loss_sum = run["loss_sum"].tensor().item<double>();
        const auto correct = run["correct"].tensor().item<std::int64_t>(),
                   seen = run["seen"].tensor().item<std::int64_t>();
        const auto history = run["history"].tensor().to<double>();
        if (state["step"].tensor().item<std::int64_t>() != step)
            throw tenon::ValueError("step " + std::to_string(step) + " and the optimizer's disagree");
        if (correct < 0 || correct > seen || !std::isfinite(loss_sum))
            throw tenon::ValueError("the loss and the correct answers of " + std::to_string(seen) +
                                    " images are not possible");
        if (seen != std::min(step % per_epoch * options_.batch, train_images_))
            throw tenon::ValueError("step " + std::to_string(step) + " and the images seen disagree");

        train_.seek({rows[0], step % per_epoch});
        params_ = std::move(params), state_ = std::move(state);
        place();
        pending_.clear();
        step_ = step, loss_sum_ = loss_sum, correct_ = correct, seen_ = images_read_ = seen;
        epochs_.clear();
        for (std::size_t i = 0; i < history.size(); i += 4)
            epochs_.push_back({history[i], history[i + 1], history[i + 2], history[i + 3], {}, {}});
    } catch (const tenon::FileError&) {
        throw;
    } catch (const tenon::Error& error) {
        throw tenon::FileError(path + ": " + error.what());
    }
}

}  // namespace cli
