#include "server/ctl_drain.h"

#include <gtest/gtest.h>

#include "transport/mock_roles.h"

namespace saker {
namespace {

using testing::_;
using testing::HasSubstr;
using testing::NiceMock;
using testing::Return;
using namespace std::chrono_literals;

class CtlDrain : public testing::Test, public Peers {
 protected:
  RootCoord* root_coord() override { return nullptr; }
  DataCoord* data_coord() override { return data_away_-- > 0 ? nullptr : &data_; }
  QueryCoord* query_coord() override { return &query_; }
  IndexCoord* index_coord() override { return nullptr; }
  DataNode* data_node(NodeId) override { return nullptr; }
  QueryNode* query_node(NodeId) override { return nullptr; }
  std::vector<NodeId> data_nodes() override { return {}; }
  std::vector<NodeId> query_nodes() override { return {}; }
  std::vector<NodeId> index_nodes() override { return {}; }

  static SessionInfo Session(int64_t node, std::string role, std::string address) {
    SessionInfo info;
    info.node = NodeId(node);
    info.role = std::move(role);
    info.address = std::move(address);
    return info;
  }
  Status Drain(DrainArguments arguments) {
    return DrainAndWait(arguments, {Session(7, "datanode", "h:1"), Session(8, "querynode", "h:2"), Session(9, "proxy", "h:3")}, *this,
                        [this](const std::string& line) { lines_.push_back(line); }, 1ms);
  }

  NiceMock<MockDataCoord> data_;
  NiceMock<MockQueryCoord> query_;
  int data_away_ = 0;
  std::vector<std::string> lines_;
};

TEST_F(CtlDrain, Arguments) {
  EXPECT_EQ(ParseDrainArguments({"7"})->node, "7");
  const auto all = ParseDrainArguments({"--undo", "h:1", "--timeout", "5"});
  ASSERT_TRUE(all.ok());
  EXPECT_TRUE(all->undo && all->node == "h:1" && all->timeout == 5s);
  for (const auto& wrong : std::vector<std::vector<std::string>>{{}, {"7", "8"}, {"7", "--fast"}, {"7", "--timeout"}, {"7", "--timeout", "soon"}}) {
    EXPECT_EQ(ParseDrainArguments(wrong).status().code(), ErrorCode::kParameterInvalid);
  }
}

TEST_F(CtlDrain, WaitsUntilTheNodeIsEmpty) {
  data_away_ = 2;  // a coordinator that isn't there yet is asked again
  EXPECT_CALL(data_, DrainNode(NodeId(7), true)).WillOnce(Return(Status()));
  EXPECT_CALL(data_, GetDrainProgress(NodeId(7)))
      .WillOnce(Return(DrainProgress{true, 3, 0, 0}))
      .WillOnce(Return(DrainProgress{true, 3, 0, 0}))
      .WillOnce(Return(DrainProgress{true, 1, 0, 0}))
      .WillOnce(Return(DrainProgress{true, 0, 0, 0}));
  EXPECT_CALL(query_, DrainNode(_, _)).Times(0);
  ASSERT_TRUE(Drain({"h:1", false, 10s}).ok());
  ASSERT_EQ(lines_.size(), 3u);
  EXPECT_THAT(lines_[0], HasSubstr("3 channels"));
  EXPECT_THAT(lines_[2], HasSubstr("may be stopped"));
}

TEST_F(CtlDrain, SaysWhatIsLeftWhenTimeIsUp) {
  EXPECT_CALL(query_, DrainNode(NodeId(8), true)).WillOnce(Return(Status()));
  EXPECT_CALL(query_, GetDrainProgress(NodeId(8))).WillRepeatedly(Return(DrainProgress{true, 0, 5, 0}));
  const Status late = Drain({"8", false, 0s});
  EXPECT_EQ(late.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(late.message(), HasSubstr("5 segments"));
}

TEST_F(CtlDrain, UndoAndNodesWithoutWork) {
  EXPECT_CALL(data_, DrainNode(NodeId(7), false)).WillOnce(Return(Status()));
  ASSERT_TRUE(Drain({"7", true, 1s}).ok());
  EXPECT_THAT(lines_.back(), HasSubstr("takes part again"));
  ASSERT_TRUE(Drain({"9", false, 1s}).ok());
  EXPECT_EQ(Drain({"10", false, 1s}).code(), ErrorCode::kNodeNotFound);
}

}  // namespace
}  // namespace saker
